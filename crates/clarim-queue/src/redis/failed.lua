local failed = {}
for _, id in ipairs(redis.call('ZRANGE', key('failed'), 0, -1)) do
    local job = redis.call('HMGET', key('failed', id), 'queue', 'payload', 'error', 'failed_at')
    table.insert(failed, { id, unpack(job) })
end
return failed
