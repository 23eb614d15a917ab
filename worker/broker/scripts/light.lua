-- Says how many entries a reader of a group may ask for without being sent too much at once.
-- KEYS: 1 stream.  ARGV: 1 group, 2 how many at the most, 3 how many bytes of memory they may take.

local length = redis.pcall('XLEN', KEYS[1])
local pending = redis.pcall('XPENDING', KEYS[1], ARGV[1])
-- Without a stream or a group there is nothing to weigh; who waits is woken by the first entry.
if type(length) ~= 'number' or length == 0 or pending.err then
  return tonumber(ARGV[2])
end
return light(KEYS[1], pending[1], tonumber(ARGV[2]), tonumber(ARGV[3]))
