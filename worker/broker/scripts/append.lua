-- Adds an entry to a stream. What is no stream is moved away once it refuses one: to ask before each costs as much.
local function append(stream, name, value)
  if type(redis.pcall('XADD', stream, '*', name, value)) == 'table' then
    make_way(stream)
    redis.call('XADD', stream, '*', name, value)
  end
end

