require "openssl"

# true if the request is genuine. headers: names in lower case; body: its bytes
def verify(key, headers, body, tolerance = 300)
  uid, stamp = headers["webhook-id"].to_s, headers["webhook-timestamp"].to_s
  return false unless stamp.match?(/\A[0-9]{1,15}\z/)
  return false if (Time.now.to_i - stamp.to_i).abs > tolerance

  signed = "#{uid}.#{stamp}.".b + body.b
  given = headers["webhook-signature"].to_s.split(" ")
  if key.start_with?("whpk_")
    der = ["302a300506032b6570032100"].pack("H*") + key.delete_prefix("whpk_").unpack1("m")
    public = OpenSSL::PKey.read(der)
    return given.any? do |one|
      one.start_with?("v1a,") && public.verify(nil, one.delete_prefix("v1a,").unpack1("m"), signed)
    rescue OpenSSL::PKey::PKeyError
      false
    end
  end
  secret = key.delete_prefix("whsec_").unpack1("m")
  return false if secret.bytesize < 24 # not set: anyone could sign with that

  wanted = "v1," + [OpenSSL::HMAC.digest("SHA256", secret, signed)].pack("m0")
  given.any? { |one| OpenSSL.secure_compare(wanted, one) }
end
