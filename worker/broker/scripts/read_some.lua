-- Reads entries of a stream one by one, until they are enough.
-- KEYS: 1 stream.  ARGV: 1 the id behind which to begin, 2 how many entries at the most, 3 how many bytes of
--       fields are enough.
-- Returns {0 at the end of the stream or else 1, the entries}.

local entries, bytes, cursor = {}, 0, ARGV[1]
while #entries < tonumber(ARGV[2]) and bytes < tonumber(ARGV[3]) do
  local entry = redis.call('XRANGE', KEYS[1], '(' .. cursor, '+', 'COUNT', 1)[1]
  if not entry then
    return {0, entries}
  end
  for _, field in ipairs(entry[2]) do
    bytes = bytes + #field
  end
  entries[#entries + 1], cursor = entry, entry[1]
end
return {1, entries}
