-- Arguments: name, owner, time
if redis.call('GET', key('lock', ARGV[1])) ~= ARGV[2] then
    return 0
end
return redis.call('PEXPIRE', key('lock', ARGV[1]), math.max(1, tonumber(ARGV[3])))
