-- ARGV: lease, tokens and money that were used, tokens and money that were held, and the scopes.
local tokens, nano = tonumber(ARGV[2]), tonumber(ARGV[3])
if not take(ARGV[1]) then
  -- It has ended and counts in full, or it was never there: what is left to count is what goes beyond.
  tokens, nano = math.max(tokens - tonumber(ARGV[4]), 0), math.max(nano - tonumber(ARGV[5]), 0)
end
for at = 6, #ARGV do add('tokens:' .. ARGV[at], tokens) end
spend(nano, nano)
expire()
keep()
return 0
