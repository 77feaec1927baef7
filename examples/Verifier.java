import java.io.ByteArrayOutputStream;
import java.nio.charset.StandardCharsets;
import java.security.GeneralSecurityException;
import java.security.KeyFactory;
import java.security.MessageDigest;
import java.security.PublicKey;
import java.security.Signature;
import java.security.spec.X509EncodedKeySpec;
import java.util.Base64;
import java.util.HexFormat;
import java.util.Map;
import javax.crypto.Mac;
import javax.crypto.spec.SecretKeySpec;

class Verifier {
    /** Whether a request is genuine. headers: names in lower case; body: its bytes. Java 17. */
    static boolean verify(String key, Map<String, String> headers, byte[] body) {
        String uid = headers.getOrDefault("webhook-id", "");
        String stamp = headers.getOrDefault("webhook-timestamp", "");
        if (!stamp.matches("[0-9]{1,15}")) return false;
        long age = System.currentTimeMillis() / 1000 - Long.parseLong(stamp);
        if (Math.abs(age) > 300) return false;
        ByteArrayOutputStream signed = new ByteArrayOutputStream();
        signed.writeBytes((uid + "." + stamp + ".").getBytes(StandardCharsets.UTF_8));
        signed.writeBytes(body);
        boolean matched = false;
        for (String one : headers.getOrDefault("webhook-signature", "").split(" ")) {
            try {
                matched |= matches(key, one, signed.toByteArray());
            } catch (GeneralSecurityException | IllegalArgumentException wrong) {
                // No signature of this form: the next one.
            }
        }
        return matched;
    }

    private static boolean matches(String key, String one, byte[] signed)
            throws GeneralSecurityException {
        byte[] raw = Base64.getDecoder().decode(key.substring(key.indexOf('_') + 1));
        byte[] given = Base64.getDecoder().decode(one.substring(one.indexOf(',') + 1));
        if (key.startsWith("whpk_")) {
            if (!one.startsWith("v1a,")) return false;
            byte[] der = HexFormat.of().parseHex(
                    "302a300506032b6570032100" + HexFormat.of().formatHex(raw));
            PublicKey pub = KeyFactory.getInstance("Ed25519")
                    .generatePublic(new X509EncodedKeySpec(der));
            Signature check = Signature.getInstance("Ed25519");
            check.initVerify(pub);
            check.update(signed);
            return check.verify(given);
        }
        // Not set: anyone could sign with that.
        if (!one.startsWith("v1,") || raw.length < 24) return false;
        Mac mac = Mac.getInstance("HmacSHA256");
        mac.init(new SecretKeySpec(raw, "HmacSHA256"));
        return MessageDigest.isEqual(mac.doFinal(signed), given);
    }
}
