#!/bin/sh
# A plugin for the tests: it writes down how it was called, and answers as the
# environment says. Linked under any name, it is a plugin of that name.
#
#   RECORD    the file to write calls to: a line of verb, name, parameters, input
#   FAIL      verb:name pairs that fail
#   VERSIONS  what VERSION answers, as a JSON list
name=${0##*/}
input=$(cat)
version=$(printf '%s' "$input" | sed -n 's/.*"cniVersion":"\([^"]*\)","name".*/\1/p')
printf '%s\t%s\t%s\t%s\t%s\t%s\n' "$CNI_COMMAND" "$name" \
    "$CNI_CONTAINERID/$CNI_IFNAME" "$CNI_NETNS" "$CNI_ARGS" "$input" >> "$RECORD"

for failing in $FAIL; do
    if [ "$failing" = "$CNI_COMMAND:$name" ]; then
        printf '{"code": 107, "msg": "%s of %s was told to", "details": "by the test"}' \
            "$CNI_COMMAND" "$name"
        exit 1
    fi
done

case $CNI_COMMAND in
ADD) printf '{"cniVersion": "%s", "interfaces": [{"name": "%s"}], "ips": [{"version": "4", "address": "10.0.0.2/24"}]}' \
    "$version" "$name" ;;
VERSION) printf '{"cniVersion": "1.0.0", "supportedVersions": %s}' "$VERSIONS" ;;
esac
