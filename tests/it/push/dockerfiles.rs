//! Trees that are built by their Dockerfile.

use std::path::Path;

use super::ok;
use crate::harness::{RealServer, Repo, Settings, engine};

/// Answers every request by a file, on the port that the platform gives.
const SERVE: &str = "#!/bin/sh\nexec perl /srv/serve.pl\n";

/// A server of one page in Perl, which the base image has.
const PERL: &str = r#"use strict; use IO::Socket::INET; $| = 1; $SIG{TERM} = sub { exit 0 };
my $port = $ENV{PORT} || 8080;
my $s = IO::Socket::INET->new(LocalAddr => '0.0.0.0', LocalPort => $port, Listen => 16, ReuseAddr => 1) or die "$!";
while (my $c = $s->accept) { while (<$c>) { last if /^\r?$/ } open my $f, '<', '/srv/page' or die; my $b = do { local $/; <$f> }; chomp $b;
print $c "HTTP/1.1 200 OK\r\nContent-Length: " . length($b) . "\r\nConnection: close\r\n\r\n$b"; close $c }
"#;

const DOCKERFILE: &str = "FROM hythe/base AS build\nARG GREETING=none\nRUN echo \"$GREETING\" > /page\n\
    FROM hythe/base\nWORKDIR /srv\nCOPY --from=build /page page\nCOPY serve.pl serve.sh ./\nRUN chmod 755 serve.sh && echo made\n\
    EXPOSE 8080\nUSER 1000\nCMD [\"/srv/serve.sh\"]\n";

fn tree(server: &RealServer, app: &str, dockerfile: &str, more: &[(&str, &str)]) -> Repo {
    let files = [&[("Dockerfile", dockerfile), ("serve.pl", PERL), ("serve.sh", SERVE)], more].concat();
    Repo::with(server, app, &files)
}

#[test]
fn a_tree_of_nothing_but_a_dockerfile_is_built_by_it() {
    let server = RealServer::start();
    let repo = tree(&server, "hello", DOCKERFILE, &[]);
    let said = repo.push("main").accepted();
    for text in ["-----> Dockerfile (no buildpack knows this tree)", "line 8: RUN chmod 755", "made", "Release v1"] {
        assert!(said.contains(text), "{text:?} is not in\n{said}");
    }
    assert_eq!(server.get("hello"), ok("none"));
}
