import java.io.DataOutputStream;
import java.io.FileInputStream;
import java.io.FileOutputStream;
import java.security.DigestOutputStream;
import java.security.MessageDigest;
import java.security.cert.CertificateFactory;

/**
 * Makes the file of certificate authorities that Java reads (words[1]) from the one that all other programs read
 * (words[0]). In the format JKS, written by hand: java.security.KeyStore would put the time of its making in, and equal
 * trees would give different images.
 */
class Truststore {
    public static void main(String[] words) throws Exception {
        var digest = MessageDigest.getInstance("SHA");
        digest.update("changeit".getBytes("UTF-16BE"));
        digest.update("Mighty Aphrodite".getBytes("UTF-8"));
        try (var in = new FileInputStream(words[0]); var to = new FileOutputStream(words[1])) {
            var certificates = CertificateFactory.getInstance("X.509").generateCertificates(in);
            var out = new DataOutputStream(new DigestOutputStream(to, digest));
            out.writeInt(0xfeedfeed);
            out.writeInt(2); // version
            out.writeInt(certificates.size());
            var number = 0;
            for (var certificate : certificates) {
                out.writeInt(2); // a certificate that is trusted
                out.writeUTF("authority-" + number++);
                out.writeLong(0);
                out.writeUTF("X.509");
                var encoded = certificate.getEncoded();
                out.writeInt(encoded.length);
                out.write(encoded);
            }
            out.flush();
            to.write(digest.digest());
        }
    }
}
