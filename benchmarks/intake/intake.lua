-- The body of BENCH_BODY, each time with another path. wrk takes one script, so the report comes along.
dofile(os.getenv("BENCH_FOLDER") .. "/load.lua")

local body, count = os.getenv("BENCH_BODY"), 0
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"

function request()
  count = count + 1
  return wrk.format(nil, nil, nil, (body:gsub("localhost/", "localhost/page-" .. count % 500, 1):gsub('"path":"/"', '"path":"/page-' .. count % 500 .. '"', 1)))
end
