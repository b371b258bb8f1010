-- Arguments: the ids of the failed jobs to delete; none deletes all
local ids = ARGV
if #ids == 0 then
    ids = redis.call('ZRANGE', key('failed'), 0, -1)
end
local forgotten = 0
for _, id in ipairs(ids) do
    redis.call('DEL', key('failed', id))
    forgotten = forgotten + redis.call('ZREM', key('failed'), id)
end
return forgotten
