-- Arguments: queue, lease
local queue, lease = ARGV[1], tonumber(ARGV[2])
local time = now()
local id = redis.call('ZRANGEBYSCORE', key('due', queue), '-inf', time, 'LIMIT', 0, 1)[1]
if not id then
    return false
end
redis.call('ZADD', key('due', queue), time + lease, id)
redis.call('HSET', key('job', id), 'reserved', 1)
local attempt = redis.call('HINCRBY', key('job', id), 'attempts', 1)
local job = redis.call('HMGET', key('job', id), 'payload', 'unique')
return { id, attempt, job[1], job[2] }
