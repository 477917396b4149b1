# SPDX-License-Identifier: MIT
"""Certificates for tests, made by openssl: CAs of our own and what they issue."""
import os
import subprocess


def openssl(*args):
    done = subprocess.run(["openssl", *map(str, args)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"openssl {args}: {done.stderr}"


class Authority:
    """A CA in a folder: its certificate is the file `ca`."""

    def __init__(self, folder, name):
        self.folder = folder
        self.ca, self.ca_key = os.path.join(folder, f"{name}.pem"), os.path.join(folder, f"{name}.key")
        openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", 30,
                "-subj", f"/CN={name}", "-keyout", self.ca_key, "-out", self.ca)

    def issue(self, file, common_name, usage, names="", days=30):
        """Returns the paths of a certificate and of its key. Names as in subjectAltName; days may be negative: expired."""
        cert, key, request, extensions = (os.path.join(self.folder, f"{file}.{end}") for end in ("pem", "key", "csr", "ext"))
        with open(extensions, "w", encoding="utf-8") as f:
            f.write(f"extendedKeyUsage = {usage}\n" + (f"subjectAltName = {names}\n" if names else ""))
        openssl("req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                "-subj", f"/CN={common_name}", "-keyout", key, "-out", request)
        openssl("x509", "-req", "-in", request, "-CA", self.ca, "-CAkey", self.ca_key, "-CAcreateserial", "-days", days,
                "-extfile", extensions, "-out", cert)
        return cert, key
