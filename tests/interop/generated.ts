// Sends, sends raw, lists and pages through the types that openapi-typescript made; everything comes from the environment.
import createClient from "openapi-fetch";
import type { paths } from "./api";

declare const process: { env: Record<string, string>; exit(code: number): never };
const { URL, KEY } = process.env;
const client = createClient<paths>({ baseUrl: URL, headers: { Authorization: `Bearer ${KEY}` } });

function held(good: boolean, what: unknown): asserts good {
  if (!good) {
    console.error(what);
    process.exit(1);
  }
}

const sent = await client.POST("/v1/send", {
  body: { from: "a@example.test", to: "ben@sink.test", subject: "Made", text: "Good morning." },
});
held(sent.data !== undefined && sent.data.accepted.length === 1, sent.error);
const raw = await client.POST("/v1/send/raw", {
  params: { query: { from: "a@example.test", to: ["ben@sink.test"] } },
  body: "From: a@example.test\r\nTo: ben@sink.test\r\nSubject: Raw\r\n\r\nGood morning.\r\n",
  bodySerializer: (body) => body,
  headers: { "Content-Type": "message/rfc822" },
});
held(raw.data !== undefined, raw.error);
const subjects: string[] = [];
let cursor: string | undefined;
do {
  const page = await client.GET("/v1/messages", { params: { query: { limit: 1, cursor } } });
  held(page.data !== undefined, page.error);
  subjects.push(...page.data.messages.map((row) => row.subject));
  cursor = page.data.cursor ?? undefined;
} while (cursor !== undefined);
held(subjects.join() === "Raw,Made", subjects);
const one = await client.GET("/v1/messages/{id}", { params: { path: { id: sent.data.id ?? "" } } });
held(one.data?.recipients[0].recipientId === sent.data.accepted[0].recipientId, one.error);
const refused = await client.POST("/v1/send", {
  body: { from: "a@other.test", to: "ben@sink.test", subject: "x", text: "y" },
});
held(refused.error !== undefined && "code" in refused.error && refused.error.code === "DOMAIN_MISMATCH", refused);
