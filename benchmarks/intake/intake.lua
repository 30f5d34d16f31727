-- Sends BENCH_BODY with another path each time. wrk accepts one script only, so this one loads the report.
dofile(os.getenv("BENCH_FOLDER") .. "/load.lua")

local body, count = os.getenv("BENCH_BODY"), 0
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"

function request()
  count = count + 1
  return wrk.format(nil, nil, nil, (body:gsub("localhost/", "localhost/page-" .. count % 500, 1):gsub('"path":"/"', '"path":"/page-' .. count % 500 .. '"', 1)))
end
