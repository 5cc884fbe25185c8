// stripe/sync-engine behind an HTTP server: node serve.cjs PORT DATABASE_URL WEBHOOK_SECRET
// CommonJS: as a module it does not find its migrations.
const { createServer } = require('node:http')
const { runMigrations, StripeSync } = require('@supabase/stripe-sync-engine')

async function main([port, databaseUrl, stripeWebhookSecret]) {
  await runMigrations({ databaseUrl, schema: 'stripe', logger: console })
  const sync = new StripeSync({
    poolConfig: { connectionString: databaseUrl, max: 10 },
    stripeSecretKey: 'sk_test_never_asked',
    stripeWebhookSecret,
    autoExpandLists: false,
    backfillRelatedEntities: false,
  })
  const server = createServer((request, response) => {
    const chunks = []
    request.on('data', (chunk) => chunks.push(chunk))
    request.on('end', async () => {
      try {
        await sync.processWebhook(Buffer.concat(chunks), request.headers['stripe-signature'])
        response.writeHead(200).end()
      } catch (error) {
        console.error(error.message)
        response.writeHead(500).end()
      }
    })
  })
  server.listen(Number(port), '127.0.0.1')
}

main(process.argv.slice(2))
