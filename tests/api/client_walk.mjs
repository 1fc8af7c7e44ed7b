// Walks the JavaScript client of docs/clients through a served shop: `node client_walk.mjs <client> <base> <authorization>`.

const [client, base, authorization] = process.argv.slice(2);
const { MemoryStore, RecommenderClient } = await import(client);

const calls = [];
let isOffline = false;
const counted = async (url, options) => {
  calls.push(`${options.method} ${url.slice(base.length).split("?")[0]}`);
  if (isOffline) throw new TypeError("fetch failed");
  return fetch(url, options);
};
const store = new MemoryStore();
const app = new RecommenderClient({ base, store, fetch: counted });

await app.start({ consent: true, name: "Walk" });
await app.start({ consent: true });
const list = await app.get("recommendations/trending", { limit: 3 });
await app.record({ type: "select_item", item_id: list.items[0].item_id, ranking_id: list.ranking_id, position: 1 });
isOffline = true;
const failure = await app.flush().catch((error) => error.message);
isOffline = false;
const [receipt] = await app.flush();

const tokens = await store.get("tokens");
await store.set("tokens", { ...tokens, expires_at: new Date().toISOString() });
const before = calls.length;
await Promise.all([app.get("me"), app.get("suggest", { q: "b" })]);
const nRefreshes = calls.slice(before).filter((call) => call === "POST tokens/refresh").length;

const link = await app.link(authorization);
const profile = await app.get("me");
const refusal = await app.get("search", { limit: 0 }).catch((error) => ({ status: error.status, kind: error.kind }));
await app.signOut();
const nVisitors = calls.filter((call) => call === "POST visitors").length;
console.log(JSON.stringify({ nVisitors, failure, receipt, nRefreshes, link, profile, refusal }));
