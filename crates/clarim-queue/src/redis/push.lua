-- Arguments: queue, payload, delay, unique key or '', its time or 'latest', order keys…
local queue, payload, delay, unique, time = unpack(ARGV, 1, 5)
-- Padded, so that ids sort as text like the numbers.
local id = string.format('%016d', redis.call('INCR', key('last-id')))
if unique ~= '' and time == 'latest' then
    local name = key('lock', 'unique:' .. unique)
    local waiting = redis.call('GET', name)
    if waiting and redis.call('HGET', key('job', waiting), 'reserved') == '0' then
        redis.call('HSET', key('job', waiting), 'payload', payload)
        return 1
    end
    redis.call('SET', name, id)
elseif unique ~= '' and not lock('unique:' .. unique, id, tonumber(time)) then
    return 0
end
local created, channels, before = now(), {}, 0
local due = created + delay
for place = 6, #ARGV do
    local channel = ARGV[place]
    table.insert(channels, channel)
    if redis.call('RPUSH', key('line', queue, channel), id) > 1 then
        before = before + 1
    end
end
redis.call('HSET', key('job', id), 'queue', queue, 'payload', payload, 'attempts', 0, 'reserved', 0,
    'due', due, 'unique', unique, 'channels', cjson.encode(channels), 'before', before)
redis.call('SADD', key('queues'), queue)
redis.call('ZADD', key('all', queue), created, id)
-- The number of lists in which other jobs come first. The job is due when there are none.
if before == 0 then
    redis.call('ZADD', key('due', queue), due, id)
end
return 1
