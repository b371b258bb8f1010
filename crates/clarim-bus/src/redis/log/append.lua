-- Appends ARGV[7] and publishes it, unless KEYS[3] exists: the position that an idempotency key has led to.
if KEYS[3] then
  local first = redis.call('GET', KEYS[3])
  if first then
    local of_epoch, of_offset = first:match('(%d+):(%d+)')
    return {of_epoch, tonumber(of_offset), 1}
  end
end

local previous = offset
offset = offset + 1
if last_run ~= run and run ~= '' then
  -- The server was restarted or replaced, and may have lost its last entries. Their offsets have been seen, and
  -- must not stand for others.
  offset = offset + 1048576
  last_run = run
end
redis.call('XADD', stream, id(offset, now), 'previous', previous, 'payload', ARGV[7])
redis.call('PEXPIRE', stream, ARGV[4])
bytes = bytes + #ARGV[7]
local count = redis.call('XLEN', stream)
if count == 1 then
  -- The stream has expired meanwhile, or begins.
  bytes, oldest = #ARGV[7], now
end
-- A little more than the log keeps may stay, so that not every append has to drop an entry.
trim(count, 1.125)
redis.call('SET', about, state(), 'PX', idle)
if KEYS[3] then
  redis.call('SET', KEYS[3], string.format('%s:%d', epoch, offset), 'PX', ARGV[9])
end
local position = string.format('%s:%d:%d:', epoch, offset, previous)
redis.call(ARGV[8], stream, position .. ARGV[7])
return {epoch, offset, 0}
