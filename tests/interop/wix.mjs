// A program written for Wix: its SDK as it is, of which only the address is changed.
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { ApiKeyStrategy, createClient } from "@wix/sdk";
import { senderDetails } from "@wix/email-marketing";

const { URL: base, KEY: apiKey } = process.env;
const client = createClient({
  auth: ApiKeyStrategy({ apiKey, siteId: randomUUID() }),
  modules: { senderDetails },
  fetch: (url, init) => fetch(String(url).replace("https://www.wixapis.com", base), init),
});
const api = "https://www.wixapis.com/email-transmissions/v1/email-transmissions";

async function ask(method, path, body) {
  const response = await client.fetchWithAuth(api + path, {
    method, headers: { "Content-Type": "application/json" }, body: body && JSON.stringify(body),
  });
  return { status: response.status, body: await response.json() };
}
async function good(method, path, body) {
  const { status, body: answer } = await ask(method, path, body);
  assert.equal(status, 200, JSON.stringify(answer));
  return answer;
}
async function refused(method, path, body) {
  const { status, body: answer } = await ask(method, path, body);
  return [status, answer.details.applicationError?.code ?? answer.details.validationError.fieldViolations[0].field];
}
const letter = (to, more = {}) => ({
  emailSubject: "Hello", emailHtmlContent: "<p>Good morning.</p>", type: "TRANSACTIONAL",
  toRecipients: to.map((emailAddress) => ({ emailAddress })), ...more,
});
const send = (emailTransmission, idempotencyKey = randomUUID()) =>
  good("POST", "/send", { emailTransmission, idempotencyKey }).then((answer) => answer.emailTransmission);
const find = (filter, more = {}) =>
  good("POST", "/query", { query: { filter, ...more } }).then((answer) => answer.emailTransmissions.map((one) => one.id));
async function until(id, status) {
  for (;;) {
    const { emailTransmission } = await good("GET", `/${id}`);
    if (emailTransmission.status === status) return emailTransmission;
    assert.notEqual(emailTransmission.status, "REJECTED");
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

// The calls of the first version, by the SDK's own functions.
assert.equal((await client.senderDetails.getSenderDetails()).senderDetails.fromEmail, "");
assert.deepEqual(await refused("POST", "/send", { emailTransmission: letter(["a@sink.test"]) }),
  [428, "SENDER_DETAILS_DO_NOT_EXIST"]);
await assert.rejects(client.senderDetails.verifyEmail("123456"), (error) =>
  error.details.applicationError.code === "VERIFICATION_CODE_INVALID");
const updated = await client.senderDetails.updateSenderDetails({ fromName: "Shop", fromEmail: "news@example.test" });
assert.equal(updated.verificationNeeded, false);
const { senderDetails: found } = await client.senderDetails.getSenderDetails();
assert.deepEqual([found.fromName, found.fromEmail], ["Shop", "news@example.test"]);
assert.ok(Date.parse(found.dateVerified) > 0);
assert.deepEqual(await client.senderDetails.resolveActualFromAddress("news@example.test"),
  { actualFromAddress: "news@example.test" });

// Sent, delivered, bounced.
const key = randomUUID();
const first = await send(letter(["ok@sink.test", "gone@sink.test"], { emailSubject: "First" }), key);
assert.equal(first.status, "ACCEPTED");
assert.equal((await send(letter(["ok@sink.test", "gone@sink.test"], { emailSubject: "First" }), key)).id, first.id);
assert.deepEqual(
  await refused("POST", "/send", { emailTransmission: letter(["x@sink.test"]), idempotencyKey: key }),
  [409, "ALREADY_EXISTS"]);
const done = await until(first.id, "PROCESSED");
assert.deepEqual(done.toRecipients.map((one) => one.status), ["SENT", "FAILED"]);
assert.match(done.toRecipients[1].failureReason, /no such user/);
assert.equal(done.emailHtmlContent, "<expired>");

// Who bounced is suppressed by now; who can't be reached waits.
const second = await send(letter(["gone@sink.test"], { emailSubject: "Second", type: "MARKETING" }));
assert.equal((await good("GET", `/${second.id}`)).emailTransmission.status, "REJECTED");
const third = await send(letter(["busy@sink.test"], { emailSubject: "Third" }));
await until(third.id, "IN_PROGRESS");
assert.deepEqual(await refused("DELETE", `/${third.id}`), [428, "EMAIL_TRANSMISSION_NOT_PROCESSED"]);

// Found again.
assert.deepEqual(await find({ status: "PROCESSED" }), [first.id]);
assert.deepEqual(await find({ status: { $in: ["REJECTED", "IN_PROGRESS"] }, type: { $ne: "TRANSACTIONAL" } }), [second.id]);
assert.deepEqual(await find({ emailSubject: { $startsWith: "Th" } }), [third.id]);
assert.deepEqual(await find({ id: { $in: [first.id] }, updatedDate: { $gte: first.createdDate } }), [first.id]);
const page = await good("POST", "/query", {
  query: { sort: [{ fieldName: "emailSubject", order: "ASC" }], cursorPaging: { limit: 2 } },
});
assert.deepEqual(page.emailTransmissions.map((one) => one.id), [first.id, second.id]);
const rest = await good("POST", "/query", { query: { cursorPaging: { cursor: page.pagingMetadata.cursors.next } } });
assert.deepEqual(rest.emailTransmissions.map((one) => one.id), [third.id]);

// Refused and deleted.
assert.deepEqual(await refused("POST", "/send", { emailTransmission: letter([], { toRecipients: [{ contactId: key }] }) }),
  [400, "emailTransmission.toRecipients.0.contactId"]);
assert.deepEqual(
  await refused("POST", "/send", { emailTransmission: letter(["a@sink.test"], { senderEmailAddress: "me@other.test" }) }),
  [428, "SENDER_EMAIL_NOT_VERIFIED"]);
assert.deepEqual(await good("DELETE", `/${first.id}`), {});
assert.deepEqual(await refused("GET", `/${first.id}`), [404, "NOT_FOUND"]);
assert.deepEqual(await refused("GET", "/a/b/c"), [404, "NOT_FOUND"]);
