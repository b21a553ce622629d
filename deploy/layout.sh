#!/bin/sh
# layout.sh PROGRAM ROOT: lays out the root of an image, of Debian's files, around one program.
set -eu
program=$1
root=$2
name=$(basename "$program")

install -D -m 755 "$program" "$root/usr/local/bin/$name"
ln -s "usr/local/bin/$name" "$root/entrypoint"
ldd "$program" | grep -o '/[^ ]*' | while read -r library; do
  install -D -m 755 "$library" "$root$library"
done

install -d "$root/etc/ssl/certs" "$root/etc/aevon" "$root/dev" "$root/proc" "$root/sys"
install -d -m 1777 "$root/tmp"
if [ -r /etc/ssl/certs/ca-certificates.crt ]; then
  install -m 644 /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/"
fi
echo 'hosts: files dns' > "$root/etc/nsswitch.conf"
echo 'aevon:x:65532:65532::/:/' > "$root/etc/passwd"
echo 'aevon:x:65532:' > "$root/etc/group"
