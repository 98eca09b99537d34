// One message with nodemailer; prints what its caller is told. Everything comes from the environment.
import fs from "node:fs";
import nodemailer from "nodemailer";

const e = process.env;
const transport = nodemailer.createTransport({
  host: "localhost",
  port: Number(e.PORT),
  requireTLS: true,
  auth: { user: e.MAIL_USER, pass: e.MAIL_PASSWORD },
  tls: { ca: fs.readFileSync(e.CA) },
});
try {
  await transport.sendMail({ from: "news@example.test", to: "bob@sink.test", text: "Hello." });
  process.stdout.write("sent");
} catch (error) {
  process.stdout.write(`${error.responseCode} ${error.response}`);
}
