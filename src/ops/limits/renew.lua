-- ARGV: seconds, and the leases that are still needed. One that has ended does not come back.
for at = 2, #ARGV do
  redis.call('ZADD', leases, 'XX', 'GT', whole(now + tonumber(ARGV[1])), ARGV[at])
end
expire()
keep()
return 0
