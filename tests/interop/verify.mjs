// Verifies the DKIM signatures of a message with mailauth: verify.mjs FILE DNS-PORT. One line of JSON.
import { promises as dns } from "node:dns";
import fs from "node:fs";
import { dkimVerify } from "mailauth/lib/dkim/verify.js";

const [file, port] = process.argv.slice(2);
const resolver = new dns.Resolver();
resolver.setServers([`127.0.0.1:${port}`]);
const found = await dkimVerify(fs.readFileSync(file), { resolver: (name, type) => resolver.resolve(name, type) });
const all = found.results.map((r) => [r.algo, r.status.result, r.status.comment || ""]);
process.stdout.write(JSON.stringify(all) + "\n");
