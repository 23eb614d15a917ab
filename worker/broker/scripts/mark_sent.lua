-- Strikes off what was told, unless there is something newer to tell by now.
-- KEYS: 1 a hash.  ARGV: 1 a field, 2 the value that was told.
if redis.call('HGET', KEYS[1], ARGV[1]) == ARGV[2] then
  redis.call('HDEL', KEYS[1], ARGV[1])
end
