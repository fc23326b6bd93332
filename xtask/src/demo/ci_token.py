"""What a CI job does to get its token: ask the platform's OIDC provider for one."""
import json
import ssl
import sys
import time
import urllib.parse
import urllib.request

issuer, ca_file, claims = sys.argv[1:]
# As long as the demo may be left running; a CI platform's last minutes.
claims = json.loads(claims) | {"exp": int(time.time()) + 86400}
form = {
    "client_id": "tests",
    "client_secret": "tests",
    "grant_type": "client_credentials",
    "resource": "urn:sallyport",
    "claims": json.dumps(claims),
}
answer = urllib.request.urlopen(
    f"{issuer}/token",
    urllib.parse.urlencode(form).encode(),
    context=ssl.create_default_context(cafile=ca_file),
)
print(json.load(answer)["access_token"])
