// An OpenID provider for the tests: the npm package "oidc-provider", which is certified.
//
// Arguments: the client ID, the client secret, the redirect URI. Prints its URL when it
// is ready. Each line of the input is a person in JSON, {"sub": …, "claims": {…}}, whom
// it signs in from then on without a question, or {"cancel": true}. It answers each
// line with "ok".
import { createServer } from "node:http";
import { createInterface } from "node:readline";
import { Provider } from "oidc-provider";

// The package advises operators there, but only answers may be in the output.
console.info = console.error;

const [clientId, clientSecret, redirectUri] = process.argv.slice(2);
const scopes = "openid email profile groups";
let person = { cancel: true };

const server = createServer();
await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
const issuer = `http://127.0.0.1:${server.address().port}`;

const provider = new Provider(issuer, {
  clients: [
    {
      client_id: clientId,
      client_secret: clientSecret,
      redirect_uris: [redirectUri],
      post_logout_redirect_uris: [new URL("../../signed-out/", redirectUri).href],
    },
  ],
  claims: {
    openid: ["sub"],
    email: ["email", "email_verified"],
    profile: ["name"],
    groups: ["groups"],
  },
  cookies: { keys: ["only for tests"] },
  features: { devInteractions: { enabled: false } },
  interactions: { url: (_ctx, interaction) => `/interaction/${interaction.uid}` },
  findAccount: (_ctx, sub) => ({
    accountId: sub,
    claims: () => ({ sub, ...person.claims }),
  }),
  // Nobody has to agree that this site may read the claims.
  async loadExistingGrant({ oidc }) {
    const grant = new oidc.provider.Grant({
      clientId: oidc.client.clientId,
      accountId: oidc.session.accountId,
    });
    grant.addOIDCScope(scopes);
    await grant.save();
    return grant;
  },
});

const answer = provider.callback();
server.on("request", async (request, response) => {
  if (!request.url.startsWith("/interaction/")) {
    answer(request, response);
    return;
  }
  const result = person.cancel
    ? { error: "access_denied" }
    : { login: { accountId: person.sub } };
  await provider.interactionFinished(request, response, result);
});

createInterface({ input: process.stdin })
  .on("line", (line) => {
    person = JSON.parse(line);
    console.log("ok");
  })
  .on("close", () => process.exit());
console.log(issuer);
