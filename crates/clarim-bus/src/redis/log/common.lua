-- Opens the log of KEYS[1] (a stream of its entries) and KEYS[2] (a text about it), or begins a new one.
local stream, about = KEYS[1], KEYS[2]
local run = ARGV[2]
local messages, ttl, max_bytes, idle = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5]), ARGV[6]

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local known = redis.call('GET', about)
local epoch, offset, bytes, oldest, last_run = ARGV[1], 0, 0, now, run
if known then
  epoch, offset, bytes, oldest, last_run = known:match('^(%d+) (%d+) (%d+) (%d+) (%w*)$')
  -- The oldest entry is at least as old as `oldest`.
  offset, bytes, oldest = tonumber(offset), tonumber(bytes), tonumber(oldest)
else
  -- Entries of an epoch that has ended.
  redis.call('DEL', stream)
end

-- An entry's id is its offset and the time at which it was appended.
local function id(number, of_time)
  return string.format('%d-%d', number, of_time)
end

-- If the `count` entries exceed a bound by the given share: drops the oldest ones that are too many or too old. A
-- call drops a limited number, because no other client is served meanwhile.
local function trim(count, share)
  local function is_over(by)
    return count > messages * by or oldest <= now - ttl * by or (bytes > max_bytes * by and count > 1)
  end
  if count == 0 then
    bytes, oldest = 0, now
  elseif not is_over(share) then
    return
  end
  local dropped, is_done = 0, false
  while not is_done and count > 0 and dropped < 1000 and is_over(1) do
    local last
    for _, entry in ipairs(redis.call('XRANGE', stream, '-', '+', 'COUNT', 20)) do
      local number, of_time = entry[1]:match('(%d+)-(%d+)')
      oldest = tonumber(of_time)
      if not is_over(1) then
        is_done = true
        break
      end
      last = tonumber(number)
      bytes = bytes - #entry[2][4]
      count = count - 1
      dropped = dropped + 1
    end
    if last then
      redis.call('XTRIM', stream, 'MINID', '=', id(last + 1, 0))
    end
  end
end

-- What is known about the log from now on.
local function state()
  return string.format('%s %d %d %d %s', epoch, offset, bytes, oldest, last_run)
end
