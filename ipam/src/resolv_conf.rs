//! Name resolution from a file in the format of resolv.conf(5).

use std::fs;
use std::path::Path;

use cni::Dns;

use crate::Error;

/// Reads the file that `ipam.resolvConf` names.
///
/// # Errors
/// [`Error::ResolvConf`] when it cannot be read.
pub(crate) fn read(path: &Path) -> Result<Dns, Error> {
    let text = fs::read_to_string(path).map_err(|error| Error::ResolvConf {
        path: path.to_owned(),
        error,
    })?;
    Ok(parse(&text))
}

/// What the text says. Lines that say nothing, or something else, are passed
/// over as resolvers do; of several `domain` lines the last counts.
fn parse(text: &str) -> Dns {
    let mut dns = Dns::default();
    for line in text.lines() {
        let mut words = line.split_whitespace().map(str::to_owned);
        let (Some(keyword), Some(value)) = (words.next(), words.next()) else {
            continue;
        };
        let values = std::iter::once(value.clone()).chain(words);
        match keyword.as_str() {
            "nameserver" => dns.nameservers.push(value),
            "domain" => dns.domain = value,
            "search" => dns.search.extend(values),
            "options" => dns.options.extend(values),
            _ => {}
        }
    }
    dns
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_keyword() {
        let dns = parse(
            "# nameserver 192.0.2.9\n;x y\n\nnameserver 192.0.2.1\n nameserver\t2001:db8::1 # second\n\
             domain a.example\ndomain b.example\nsearch b.example c.example\nsearch d.example\n\
             options ndots:2 rotate\nnameserver\nsortlist 192.0.2.0\n",
        );
        assert_eq!(dns.nameservers, ["192.0.2.1", "2001:db8::1"]);
        assert_eq!(dns.domain, "b.example");
        assert_eq!(dns.search, ["b.example", "c.example", "d.example"]);
        assert_eq!(dns.options, ["ndots:2", "rotate"]);
    }

    #[test]
    fn a_file_that_is_not_there() {
        let error = read(Path::new("/nonexistent/resolv.conf"))
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("/nonexistent/resolv.conf") && error.contains("resolvConf"),
            "{error}"
        );
    }
}
