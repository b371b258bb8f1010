-- Arguments: id, attempt, queue; for a failed job also payload and error
local id, attempt, queue, payload, cause = unpack(ARGV)
if not is_mine(id, attempt) then
    return 0
end
local job = redis.call('HMGET', key('job', id), 'channels', 'unique')
for _, channel in ipairs(cjson.decode(job[1])) do
    local line = key('line', queue, channel)
    redis.call('LPOP', line)
    local next = redis.call('LINDEX', line, 0)
    if next and redis.call('HINCRBY', key('job', next), 'before', -1) == 0 then
        redis.call('ZADD', key('due', queue), redis.call('HGET', key('job', next), 'due'), next)
    end
end
if job[2] ~= '' then
    unlock('unique:' .. job[2], id)
end
redis.call('DEL', key('job', id))
redis.call('ZREM', key('due', queue), id)
redis.call('ZREM', key('all', queue), id)
if redis.call('ZCARD', key('all', queue)) == 0 then
    redis.call('SREM', key('queues'), queue)
end
if payload then
    local failed = key('failed', id)
    redis.call('HSET', failed, 'queue', queue, 'payload', payload, 'error', cause, 'failed_at', now())
    redis.call('ZADD', key('failed'), 0, id)
end
return 1
