// A small client of the recommender's API, for Node 20, browsers and React Native. It has no dependency.
//
//   const client = new RecommenderClient({ base: "https://shop.example/recommender/api/v1/", store: yourStore });
//   await client.start({ consent: true, name: "Pixel 8" });
//   const list = await client.get("recommendations/home", { limit: 8 });
//   await client.record({ type: "select_item", item_id: list.items[0].item_id, ranking_id: list.ranking_id, position: 1 });
//   await client.flush();
//
// `store` keeps what must survive a restart: an object with async `get(name)` and `set(name, value)`.

const BATCH = 100;
const REFRESH_BEFORE_SECONDS = 60;

export class ApiProblem extends Error {
  constructor(status, problem, retryAfterSeconds) {
    super(`${status} ${problem.type ?? ""}: ${problem.detail ?? ""}`);
    this.status = status;
    this.kind = (problem.type ?? "").replace("urn:shopreco:problem:", "");
    this.retryAfterSeconds = retryAfterSeconds;
  }
}

export class MemoryStore {
  #values = new Map();
  async get(name) {
    return this.#values.get(name);
  }
  async set(name, value) {
    this.#values.set(name, value);
  }
}

export class RecommenderClient {
  constructor({ base, key = "", store = new MemoryStore(), fetch = globalThis.fetch }) {
    this.base = base;
    this.key = key;
    this.store = store;
    this.fetch = fetch;
  }

  /** Get a visitor once per installation, after the shopper has answered whether they may be recorded. */
  async start({ consent, name = "" }) {
    if (await this.store.get("tokens")) return;
    await this.store.set("tokens", await this.#send("POST", "visitors", { body: { consent, ...(name && { name }) } }));
  }

  async get(path, parameters = {}) {
    const query = new URLSearchParams(parameters).toString();
    return this.#authorised("GET", query ? `${path}?${query}` : path);
  }

  /** Keep an event until `flush`: it gets its id and time now, so that sending it twice stores it once. */
  async record(event) {
    const queue = (await this.store.get("queue")) ?? [];
    queue.push({ message_id: crypto.randomUUID(), occurred_at: new Date().toISOString(), ...event });
    await this.store.set("queue", queue);
  }

  /** Send what is queued. An event leaves the queue once the shop has accounted for it; on any failure it stays. */
  async flush() {
    const receipts = [];
    for (let queue = (await this.store.get("queue")) ?? []; queue.length > 0; ) {
      const batch = queue.slice(0, BATCH);
      const body = { sent_at: new Date().toISOString(), events: batch };
      receipts.push(await this.#authorised("POST", "events", body));
      const sent = new Set(batch.map((event) => event.message_id));
      queue = ((await this.store.get("queue")) ?? []).filter((event) => !sent.has(event.message_id));
      await this.store.set("queue", queue);
    }
    return receipts;
  }

  /** Tie this installation to the user whom your own API knows by `authorization`, such as "Bearer <JWT>". */
  async link(authorization) {
    const headers = { Authorization: authorization, "Recommender-Visitor": await this.#token() };
    return this.#send("POST", "me/link", { headers });
  }

  /** Sign out: the tokens end, and the next `start` begins a new visitor. */
  async signOut() {
    await this.#authorised("DELETE", "me/tokens/current");
    await this.store.set("tokens", undefined);
  }

  async #authorised(method, path, body) {
    const send = async () =>
      this.#send(method, path, { body, headers: { Authorization: `Visitor ${await this.#token()}` } });
    try {
      return await send();
    } catch (error) {
      if (error.kind !== "expired-token") throw error;
      await this.#refresh();
      return send();
    }
  }

  async #token() {
    const tokens = await this.store.get("tokens");
    if (!tokens) throw new Error("Call start() first.");
    const secondsLeft = (Date.parse(tokens.expires_at) - Date.now()) / 1000;
    return secondsLeft > REFRESH_BEFORE_SECONDS ? tokens.token : this.#refresh();
  }

  /** Get the next tokens, once for all calls that wait: a refresh token counts once. */
  #refresh() {
    this.refreshing ??= this.#refreshed().finally(() => (this.refreshing = undefined));
    return this.refreshing;
  }

  async #refreshed() {
    const tokens = await this.store.get("tokens");
    const following = await this.#send("POST", "tokens/refresh", { body: { refresh_token: tokens.refresh_token } });
    await this.store.set("tokens", { ...tokens, ...following });
    return following.token;
  }

  async #send(method, path, { body, headers = {} } = {}) {
    const answer = await this.fetch(this.base + path, {
      method,
      headers: {
        Accept: "application/json",
        ...(body !== undefined && { "Content-Type": "application/json" }),
        ...(this.key && { "Recommender-Key": this.key }),
        ...headers,
      },
      ...(body !== undefined && { body: JSON.stringify(body) }),
    });
    if (answer.ok) return answer.status === 204 ? undefined : answer.json();
    const problem = await answer.json().catch(() => ({}));
    throw new ApiProblem(answer.status, problem, Number(answer.headers.get("Retry-After")) || undefined);
  }
}
