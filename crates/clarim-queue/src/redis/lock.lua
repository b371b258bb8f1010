-- Arguments: name, owner, time
return lock(ARGV[1], ARGV[2], tonumber(ARGV[3])) and 1 or 0
