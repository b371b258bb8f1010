-- Arguments: id, attempt, queue, time from now, payload. With a payload the job is released, with '' the lease renewed.
local id, attempt, queue, time, payload = unpack(ARGV)
if not is_mine(id, attempt) then
    return 0
end
redis.call('ZADD', key('due', queue), now() + time, id)
if payload ~= '' then
    redis.call('HSET', key('job', id), 'payload', payload, 'reserved', 0)
end
return 1
