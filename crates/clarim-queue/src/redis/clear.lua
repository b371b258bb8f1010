-- Arguments: queue
local queue = ARGV[1]
local time, cleared, lines = now(), 0, {}
for _, id in ipairs(redis.call('ZRANGE', key('all', queue), 0, -1)) do
    local job = redis.call('HMGET', key('job', id), 'reserved', 'unique', 'channels')
    local due = redis.call('ZSCORE', key('due', queue), id)
    local is_running = job[1] == '1' and due and tonumber(due) > time
    if not is_running then
        for _, channel in ipairs(cjson.decode(job[3])) do
            lines[key('line', queue, channel)] = id
        end
        if job[2] ~= '' then
            unlock('unique:' .. job[2], id)
        end
        redis.call('DEL', key('job', id))
        redis.call('ZREM', key('due', queue), id)
        redis.call('ZREM', key('all', queue), id)
        cleared = cleared + 1
    end
end
-- A running job is the first of each of its lines, so the others are those that were cleared.
for line in pairs(lines) do
    if redis.call('EXISTS', key('job', redis.call('LINDEX', line, 0))) == 1 then
        redis.call('LTRIM', line, 0, 0)
    else
        redis.call('DEL', line)
    end
end
if redis.call('ZCARD', key('all', queue)) == 0 then
    redis.call('SREM', key('queues'), queue)
end
return cleared
