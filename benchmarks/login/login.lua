-- Signs in with BENCH_EMAIL and BENCH_PASSWORD. wrk accepts one script only, so this one loads the report.
dofile(os.getenv("BENCH_FOLDER") .. "/load.lua")

wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.body = string.format('{"email":"%s","password":"%s"}', os.getenv("BENCH_EMAIL"), os.getenv("BENCH_PASSWORD"))
