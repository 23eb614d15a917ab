-- Precedes what reads entries of a stream whose sizes are not known.

-- Returns how many entries may be read behind the first `before`, so that they take at most `bytes` of memory:
-- `most`, or fewer, but at least 1. No entry is touched for it. MEMORY USAGE adds up the first nodes of a stream
-- (src/object.c, objectComputeSize), and each node holds one entry or more.
local function light(stream, before, most, bytes)
  local count, nodes = most, nil
  while count > 1 do
    local sampled = before + count
    local usage = redis.pcall('MEMORY', 'USAGE', stream, 'SAMPLES', sampled)
    if type(usage) ~= 'number' then
      return most -- it is forbidden here
    end
    if usage <= bytes then
      return count
    end
    -- With more nodes than these, the mean of these was taken for all of them.
    nodes = nodes or value_of(redis.call('XINFO', 'STREAM', stream), 'radix-tree-keys')
    if nodes > sampled and usage / (nodes - 1) * sampled <= bytes then
      return count
    end
    count = math.floor(count / 4)
  end
  return 1
end

