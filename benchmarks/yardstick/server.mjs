// The yardstick: the same work as Getyousite in plain Fastify. One primary process and WORKERS workers on
// 127.0.0.1:PORT.
//
// Environment: PORT, WORKERS, PG_URL, REDIS_URL, EMAIL and PASSWORD of the account that it creates, and BLUEPRINT,
// the file of the blueprint that each site has as its draft.
// It uses its own schema, `yardstick`, so that it can share a database with the platform.
import cluster from 'node:cluster'
import { createHash, randomBytes } from 'node:crypto'
import { readFileSync } from 'node:fs'
import cookie from '@fastify/cookie'
import cors from '@fastify/cors'
import helmet from '@fastify/helmet'
import jwt from '@fastify/jwt'
import rateLimit from '@fastify/rate-limit'
import argon2 from 'argon2'
import Fastify from 'fastify'
import Redis from 'ioredis'
import pg from 'pg'

const { PORT, WORKERS = '2', PG_URL, REDIS_URL, EMAIL, PASSWORD, BLUEPRINT } = process.env
const SITES = 20

// The declared cost of a password hash, the same as in accounts/credentials/hashing.py.
const HASH = { type: argon2.argon2id, memoryCost: 65536, timeCost: 3, parallelism: 4 }

// The columns of the list of sites. The single site has the blueprint too.
const COLUMNS = 'id, owner_id, name, subdomain, custom_domain, status, created_at, updated_at'

const SCHEMA = `
  CREATE SCHEMA IF NOT EXISTS yardstick;
  CREATE TABLE IF NOT EXISTS yardstick.account (id serial PRIMARY KEY, email text UNIQUE NOT NULL, password text NOT NULL);
  CREATE TABLE IF NOT EXISTS yardstick.site (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    owner_id int NOT NULL,
    name text NOT NULL,
    subdomain text UNIQUE NOT NULL,
    custom_domain text UNIQUE,
    status text NOT NULL DEFAULT 'draft',
    blueprint jsonb NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    deleted_at timestamptz
  );
  CREATE INDEX IF NOT EXISTS site_owner ON yardstick.site (owner_id);
  CREATE TABLE IF NOT EXISTS yardstick.draft (site_id uuid PRIMARY KEY REFERENCES yardstick.site, version int NOT NULL DEFAULT 1, blueprint jsonb NOT NULL);
  CREATE TABLE IF NOT EXISTS yardstick.revision (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    site_id uuid NOT NULL REFERENCES yardstick.site,
    version int NOT NULL,
    blueprint jsonb NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
  );
  CREATE INDEX IF NOT EXISTS revision_site ON yardstick.revision (site_id, created_at);
  CREATE TABLE IF NOT EXISTS yardstick.post (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    site_id uuid NOT NULL REFERENCES yardstick.site,
    slug text NOT NULL,
    title text NOT NULL,
    excerpt text NOT NULL DEFAULT '',
    tags text[] NOT NULL DEFAULT '{}',
    blocks jsonb NOT NULL DEFAULT '[]',
    author_id int,
    version int NOT NULL DEFAULT 1,
    published_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (site_id, slug)
  );
  CREATE INDEX IF NOT EXISTS post_list ON yardstick.post (site_id, created_at DESC, id);
  CREATE TABLE IF NOT EXISTS yardstick.audit (
    id bigserial PRIMARY KEY,
    action text NOT NULL,
    actor_id int NOT NULL,
    target_id uuid NOT NULL,
    details jsonb NOT NULL,
    ip text,
    created_at timestamptz NOT NULL DEFAULT now()
  );
  CREATE INDEX IF NOT EXISTS audit_target ON yardstick.audit (target_id, created_at);
  CREATE TABLE IF NOT EXISTS yardstick.item (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    vault_id uuid NOT NULL,
    owner_id int NOT NULL,
    ciphertext bytea NOT NULL,
    iv bytea NOT NULL,
    salt bytea NOT NULL,
    version int NOT NULL DEFAULT 1
  );
  CREATE TABLE IF NOT EXISTS yardstick.event (
    id bigserial PRIMARY KEY,
    site_id uuid NOT NULL,
    kind text,
    path text,
    referrer text,
    ip text,
    ua text,
    created_at timestamptz NOT NULL DEFAULT now()
  );
  CREATE INDEX IF NOT EXISTS event_site ON yardstick.event (site_id);
  CREATE INDEX IF NOT EXISTS event_kind ON yardstick.event (kind);
  CREATE INDEX IF NOT EXISTS event_at ON yardstick.event (created_at);`

if (cluster.isPrimary) {
  await seed()
  const keys = { JWT_SECRET: randomBytes(36).toString('base64'), COOKIE_SECRET: randomBytes(36).toString('base64') }
  for (let number = 0; number < Number(WORKERS); number++) cluster.fork(keys)
  cluster.on('exit', (worker, code) => {
    console.error(`worker ${worker.process.pid} ended with code ${code}`)
    process.exit(1) // a yardstick with fewer workers would measure something else
  })
} else {
  await serve()
}

/** Create the schema, one account and its sites, unless they exist. */
async function seed () {
  const client = new pg.Client({ connectionString: PG_URL })
  await client.connect()
  await client.query(SCHEMA)
  const hash = await argon2.hash(PASSWORD, HASH)
  await client.query('INSERT INTO yardstick.account (email, password) VALUES ($1, $2) ON CONFLICT DO NOTHING', [EMAIL, hash])
  const { rows: [owner] } = await client.query('SELECT id FROM yardstick.account WHERE email = $1', [EMAIL])
  for (let number = 0; number < SITES; number++) {
    await client.query(
      'INSERT INTO yardstick.site (owner_id, name, subdomain, blueprint) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING',
      [owner.id, `Site ${number}`, `site-${number}`, { version: 1, pages: [] }]
    )
  }
  const blueprint = JSON.parse(readFileSync(BLUEPRINT, 'utf8'))
  await client.query('INSERT INTO yardstick.draft (site_id, blueprint) SELECT id, $1 FROM yardstick.site', [blueprint])
  await client.query("INSERT INTO yardstick.post (site_id, slug, title) SELECT id, 'the-first-post', 'The first post' FROM yardstick.site")
  await client.query(
    'INSERT INTO yardstick.item (vault_id, owner_id, ciphertext, iv, salt) VALUES (gen_random_uuid(), $1, $2, $3, $4)',
    [owner.id, randomBytes(1024), randomBytes(12), randomBytes(16)]
  )
  await client.end()
}

/** Run one worker: the usual plugins of a Fastify API, then the routes. */
async function serve () {
  const pool = new pg.Pool({ connectionString: PG_URL, max: 10 })
  const redis = new Redis(REDIS_URL)
  const app = Fastify({ logger: false, bodyLimit: 10 * 1024 * 1024 })
  await app.register(helmet)
  await app.register(cors, { origin: ['https://app.example.com'], credentials: true })
  await app.register(cookie, { secret: process.env.COOKIE_SECRET })
  await app.register(jwt, { secret: process.env.JWT_SECRET, sign: { expiresIn: '15m' } })
  await app.register(rateLimit, { max: 1e9, timeWindow: '1 minute', redis }) // counts each request, refuses none
  const signedIn = { onRequest: async request => { await request.jwtVerify() } }

  // `name` makes node-postgres prepare each statement once for a connection.
  const query = async (name, text, values) => (await pool.query({ name, text, values })).rows

  /** Run `action` with a query function, in one transaction. */
  async function inTransaction (action) {
    const client = await pool.connect()
    try {
      await client.query('BEGIN')
      const result = await action(async (name, text, values) => (await client.query({ name, text, values })).rows)
      await client.query('COMMIT')
      return result
    } catch (error) {
      await client.query('ROLLBACK')
      throw error
    } finally {
      client.release()
    }
  }

  const record = (run, action, request, target, details) => run(
    'audit',
    'INSERT INTO yardstick.audit (action, actor_id, target_id, details, ip) VALUES ($1, $2, $3, $4, $5)',
    [action, request.user.id, target, details, request.ip]
  )

  app.get('/health', async () => ({ status: 'ok', timestamp: new Date().toISOString() }))

  app.post('/api/v1/auth/login', async (request, reply) => {
    const [account] = await query('account', 'SELECT id, password FROM yardstick.account WHERE email = $1', [request.body.email])
    if (!account || !await argon2.verify(account.password, request.body.password)) {
      return reply.code(401).send({ detail: 'Invalid credentials' })
    }
    const refresh = app.jwt.sign({ id: account.id, kind: 'refresh' }, { expiresIn: '30d' })
    reply.setCookie('refresh', refresh, { httpOnly: true, secure: true, sameSite: 'strict', path: '/' })
    return { access: app.jwt.sign({ id: account.id }) }
  })

  app.get('/api/v1/sites/:id', signedIn, async (request, reply) => {
    const [site] = await query(
      'site',
      `SELECT ${COLUMNS}, blueprint FROM yardstick.site WHERE id = $1 AND owner_id = $2 AND deleted_at IS NULL`,
      [request.params.id, request.user.id]
    )
    return site ?? reply.code(404).send({ detail: 'Not found' })
  })

  app.get('/api/v1/sites', signedIn, async request => {
    const results = await query(
      'sites',
      `SELECT ${COLUMNS} FROM yardstick.site WHERE owner_id = $1 AND deleted_at IS NULL ORDER BY created_at DESC, id LIMIT 20`,
      [request.user.id]
    )
    return { results }
  })

  app.get('/api/v1/sites/:id/posts', signedIn, async (request, reply) => {
    const [site] = await query(
      'site of posts',
      'SELECT id FROM yardstick.site WHERE id = $1 AND owner_id = $2 AND deleted_at IS NULL',
      [request.params.id, request.user.id]
    )
    if (!site) return reply.code(404).send({ detail: 'Not found' })
    const results = await query(
      'posts',
      `SELECT id, slug, title, excerpt, tags, author_id, version, published_at, created_at, updated_at
       FROM yardstick.post WHERE site_id = $1 ORDER BY created_at DESC, id LIMIT 20`,
      [site.id]
    )
    return { results }
  })

  app.post('/api/v1/sites/:id/posts', {
    ...signedIn,
    schema: {
      body: {
        type: 'object',
        required: ['title'],
        properties: { title: { type: 'string', minLength: 1, maxLength: 200 }, excerpt: { type: 'string', maxLength: 500 } }
      }
    }
  }, async (request, reply) => {
    const { title, excerpt = '' } = request.body
    const slug = title.toLowerCase().replace(/[^a-z0-9]+/g, '-').slice(0, 100)
    const post = await inTransaction(async run => {
      const [site] = await run(
        'site for post',
        'SELECT id FROM yardstick.site WHERE id = $1 AND owner_id = $2 AND deleted_at IS NULL',
        [request.params.id, request.user.id]
      )
      if (!site) return null
      const [row] = await run(
        'new post',
        `INSERT INTO yardstick.post (site_id, slug, title, excerpt, author_id) VALUES ($1, $2, $3, $4, $5)
         RETURNING id, slug, title, excerpt, tags, blocks, author_id, version, published_at, created_at, updated_at`,
        [site.id, slug, title, excerpt, request.user.id]
      )
      await record(run, 'post.created', request, row.id, { slug })
      return row
    })
    return post ? reply.code(201).send(post) : reply.code(404).send({ detail: 'Not found' })
  })

  app.patch('/api/v1/sites/:id/blocks/:block', signedIn, async (request, reply) => {
    const result = await inTransaction(async run => {
      const [draft] = await run(
        'draft',
        `SELECT draft.site_id, version, draft.blueprint FROM yardstick.draft JOIN yardstick.site ON site.id = site_id
         WHERE site_id = $1 AND owner_id = $2 AND deleted_at IS NULL FOR UPDATE OF draft`,
        [request.params.id, request.user.id]
      )
      const block = draft && findBlock(draft.blueprint, request.params.block)
      if (!block) return [404]
      const expected = request.headers['if-match']
      if (expected !== '*' && expected !== etagOf(block)) return [412]
      Object.assign(block.props, request.body.props)
      await run('save draft', 'UPDATE yardstick.draft SET blueprint = $2, version = version + 1 WHERE site_id = $1', [draft.site_id, draft.blueprint])
      await run('revision', 'INSERT INTO yardstick.revision (site_id, version, blueprint) VALUES ($1, $2, $3)', [draft.site_id, draft.version + 1, draft.blueprint])
      await record(run, 'draft.saved', request, draft.site_id, { version: draft.version + 1 })
      return [200, block]
    })
    if (result[0] !== 200) return reply.code(result[0]).send({ detail: 'Refused' })
    return reply.header('ETag', etagOf(result[1])).send(result[1])
  })

  app.get('/api/v1/vault/:vault/items/:item', signedIn, async (request, reply) => {
    const [item] = await query(
      'item',
      'SELECT id, ciphertext, iv, salt, version FROM yardstick.item WHERE id = $1 AND vault_id = $2 AND owner_id = $3',
      [request.params.item, request.params.vault, request.user.id]
    )
    if (!item) return reply.code(404).send({ detail: 'Not found' })
    for (const name of ['ciphertext', 'iv', 'salt']) item[name] = item[name].toString('base64')
    return item
  })

  // What the benchmark needs to know about the data.
  app.get('/ids', signedIn, async () => {
    const [item] = await query('any item', 'SELECT id, vault_id FROM yardstick.item LIMIT 1', [])
    const sites = await query('ids of sites', 'SELECT id FROM yardstick.site', [])
    return sites.map(site => ({ site: site.id, vault: item.vault_id, item: item.id }))
  })

  app.post('/event', async (request, reply) => {
    const { site, path, referrer } = request.body
    await query(
      'event',
      'INSERT INTO yardstick.event (site_id, kind, path, referrer, ip, ua) VALUES ($1, $2, $3, $4, $5, $6)',
      [site, 'pageview', path, referrer ?? '', request.ip, request.headers['user-agent'] ?? '']
    )
    return reply.code(202).send()
  })

  await app.listen({ host: '127.0.0.1', port: Number(PORT) })
}

/** Return the block with this id, at any depth of any page. */
function findBlock (blueprint, id) {
  const search = blocks => {
    for (const block of blocks) {
      if (block.id === id) return block
      const found = search(Object.values(block.slots ?? {}).flat())
      if (found) return found
    }
  }
  for (const page of blueprint.pages) {
    const found = search(page.blocks)
    if (found) return found
  }
}

function etagOf (block) {
  return `"${createHash('sha256').update(JSON.stringify(block)).digest('hex').slice(0, 32)}"`
}
