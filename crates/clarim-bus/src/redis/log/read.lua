-- Reads at most ARGV[8] entries and ARGV[9] bytes after the offset in ARGV[7].
local limit, page_bytes = tonumber(ARGV[8]), tonumber(ARGV[9])

if offset == 0 then
  -- Clients choose what is read. What was never appended to is forgotten early, so that it does not fill the server,
  -- but kept for readers who come once per half of its retention time.
  idle = math.min(tonumber(idle), math.floor(ttl / 2) + 300000)
end

-- A server without free memory refuses this, but can still be read. What it cannot note must not be dropped.
local noted = known and redis.pcall('SET', about, known, 'PX', idle)
if not (noted and noted.err) then
  trim(redis.call('XLEN', stream), 1)
  redis.call('SET', about, state(), 'PX', idle)
end
local first = redis.call('XRANGE', stream, '-', '+', 'COUNT', 1)[1]
local start = first and tonumber(first[2][2]) or offset

local page, total = {}, 0
local from = '(' .. ARGV[7] .. '-18446744073709551615'
while #page < limit do
  local wanted = math.min(limit - #page, 50)
  local entries = redis.call('XRANGE', stream, from, '+', 'COUNT', wanted)
  for _, entry in ipairs(entries) do
    total = total + #entry[2][4]
    if total > page_bytes and #page > 0 then
      return {epoch, offset, start, page}
    end
    page[#page + 1] = entry
  end
  if #entries < wanted then
    break
  end
  from = '(' .. entries[#entries][1]
end
return {epoch, offset, start, page}
