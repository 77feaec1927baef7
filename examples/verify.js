const crypto = require("node:crypto");

// true if the request is genuine. headers: names in lower case; body: a Buffer
function verify(key, headers, body, tolerance = 300) {
  const uid = headers["webhook-id"] ?? "";
  const stamp = headers["webhook-timestamp"] ?? "";
  if (!/^[0-9]{1,15}$/.test(stamp)) return false;
  if (Math.abs(Date.now() / 1000 - Number(stamp)) > tolerance) return false;
  const signed = Buffer.concat([Buffer.from(`${uid}.${stamp}.`), body]);
  const given = (headers["webhook-signature"] ?? "").split(" ");
  if (key.startsWith("whpk_")) {
    const raw = Buffer.from(key.slice(5), "base64");
    const der = Buffer.concat([Buffer.from("302a300506032b6570032100", "hex"), raw]);
    const pub = crypto.createPublicKey({ key: der, format: "der", type: "spki" });
    return given.some((one) => one.startsWith("v1a,") &&
      crypto.verify(null, signed, pub, Buffer.from(one.slice(4), "base64")));
  }
  const secret = Buffer.from(key.replace(/^whsec_/, ""), "base64");
  if (secret.length < 24) return false; // not set: anyone could sign with that
  const digest = crypto.createHmac("sha256", secret).update(signed).digest("base64");
  const wanted = Buffer.from(`v1,${digest}`);
  return given.some((one) => {
    const found = Buffer.from(one);
    return found.length === wanted.length && crypto.timingSafeEqual(found, wanted);
  });
}

module.exports = { verify };
