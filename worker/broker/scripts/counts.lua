-- Whether all of these are whole numbers that Lua holds exactly: of counts, damage may have made anything.
local function are_whole(...)
  for _, value in ipairs({...}) do
    if not value or #value > 15 or not string.match(value, '^%-?%d+$') then
      return false
    end
  end
  return true
end

