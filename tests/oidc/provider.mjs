// A real OIDC provider that issues what a CI platform would: RS256 JWTs with the claims asked for.
//
//   node provider.mjs --cert FILE --key FILE
//
// Prints {"issuer": "https://127.0.0.1:PORT"} when it serves, and ends when stdin closes.
// A token: POST {issuer}/token with client_id=tests, client_secret=tests, grant_type=client_credentials,
// resource=urn:sallyport and claims=<JSON object>. The claims replace the provider's own, `exp`, `nbf` and
// `aud` included, so that a test can have a token that is validly signed and wrong.
import { generateKeyPair } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:https';
import { parseArgs, promisify } from 'node:util';

// The library gives its advice on stdout, from its import on; stdout is for our one line.
console.info = console.warn = console.error;
const { default: Provider, errors } = await import('oidc-provider');

const AUDIENCE = 'sallyport';
const RESOURCE = 'urn:sallyport';

const { values: files } = parseArgs({ options: { cert: { type: 'string' }, key: { type: 'string' } } });
if (!files.cert || !files.key) {
  throw new Error('--cert FILE and --key FILE are required');
}

const server = createServer({ cert: readFileSync(files.cert), key: readFileSync(files.key) });
await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
const issuer = `https://127.0.0.1:${server.address().port}`;

const provider = new Provider(issuer, {
  clients: [
    {
      client_id: 'tests',
      client_secret: 'tests',
      token_endpoint_auth_method: 'client_secret_post',
      grant_types: ['client_credentials'],
      redirect_uris: [],
      response_types: [],
    },
  ],
  clientAuthMethods: ['client_secret_post'],
  features: {
    clientCredentials: { enabled: true },
    devInteractions: { enabled: false },
    resourceIndicators: { enabled: true, getResourceServerInfo: resourceServer },
  },
  formats: { customizers: { jwt: customize } },
  jwks: { keys: [await signingKey()] },
  ttl: { ClientCredentials: 600 },
  cookies: { keys: ['no session is ever made'] },
});
provider.on('server_error', (_, error) => console.error(error));
server.on('request', provider.callback());

process.stdin.resume();
process.stdin.on('close', () => process.exit(0));
console.log(JSON.stringify({ issuer }));

async function signingKey() {
  const { privateKey } = await promisify(generateKeyPair)('rsa', { modulusLength: 2048 });
  return { ...privateKey.export({ format: 'jwk' }), alg: 'RS256', use: 'sig' };
}

function resourceServer(_ctx, resource) {
  if (resource !== RESOURCE) {
    throw new errors.InvalidTarget();
  }
  return {
    scope: '',
    audience: AUDIENCE,
    accessTokenFormat: 'jwt',
    jwt: { sign: { alg: 'RS256' } },
  };
}

// CI platforms issue plain `JWT`, not RFC 9068's `at+jwt`.
function customize(ctx, _token, parts) {
  parts.header = { typ: 'JWT' };
  Object.assign(parts.payload, JSON.parse(ctx.oidc.body.claims ?? '{}'));
  return parts;
}
