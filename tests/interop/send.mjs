// Sends one message with nodemailer; everything comes from the environment.
import fs from "node:fs";
import nodemailer from "nodemailer";

const e = process.env;
const transport = nodemailer.createTransport({
  host: e.HOST,
  port: Number(e.PORT),
  requireTLS: true,
  auth: { user: e.MAIL_USER, pass: e.MAIL_PASSWORD },
  tls: { ca: fs.readFileSync(e.CA) },
});
const info = await transport.sendMail({
  from: { name: "News", address: e.MAIL_FROM },
  to: e.MAIL_TO,
  subject: `Interop ${e.NAME}`,
  text: e.BODY,
  html: "<p>Grüße aus der <b>Poststation</b>.</p>",
});
transport.close();
process.exit(info.accepted.length === 1 && info.rejected.length === 0 ? 0 : 1);
