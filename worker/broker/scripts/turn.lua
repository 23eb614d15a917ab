-- Keeps a lock, or takes one that is free. KEYS: 1 the lock. ARGV: 1 the name of the present turn, 2 of the next,
-- 3 for how long it is kept, in ms. Returns the name under which it is held now, or false.
local holder = redis.call('GET', KEYS[1])
if not holder then
  redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
  return ARGV[2]
end
-- Under the next name if the reply was lost when it was taken.
if holder == ARGV[1] or holder == ARGV[2] then
  redis.call('PEXPIRE', KEYS[1], ARGV[3])
  return holder
end
return false
