local sizes, time = {}, now()
for _, queue in ipairs(redis.call('SMEMBERS', key('queues'))) do
    local running, later, away = 0, 0, {}
    for _, id in ipairs(redis.call('ZRANGEBYSCORE', key('due', queue), '(' .. time, '+inf')) do
        away[id] = true
        if redis.call('HGET', key('job', id), 'reserved') == '1' then
            running = running + 1
        else
            later = later + 1
        end
    end
    local waiting = redis.call('ZCARD', key('all', queue)) - running - later
    local age = -1
    if waiting > 0 then
        local all = redis.call('ZRANGE', key('all', queue), 0, running + later, 'WITHSCORES')
        for place = 1, #all, 2 do
            if not away[all[place]] then
                age = time - all[place + 1]
                break
            end
        end
    end
    table.insert(sizes, { queue, waiting, later, running, age })
end
return sizes
