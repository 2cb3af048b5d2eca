use super::*;

fn tar(entries: &[(&str, &[u8], u32)]) -> Vec<u8> {
    let mut tree = tar::Builder::new(Vec::new());
    for (path, content, mode) in entries {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(*mode);
        tree.append_data(&mut header, path, *content).unwrap();
    }
    tree.into_inner().unwrap()
}

fn scan_tar(tar: Vec<u8>) -> io::Result<LayerPackages> {
    scan(io::Cursor::new(tar))
}

fn found(path: &str, content: &str) -> Vec<String> {
    let layer = scan_tar(tar(&[(path, content.as_bytes(), 0o644)])).unwrap();
    joined_packages([&layer]).into_iter().map(|p| format!("{:?} {} {}", p.ecosystem, p.name, p.version)).collect()
}

#[test]
fn each_package_manager_is_understood_by_the_file_it_leaves() {
    let status = "Package: libssl3\nStatus: install ok installed\nArchitecture: amd64\nSource: openssl (3.0.17-1)\n\
                  Version: 3.0.17-1~deb12u2\n\nPackage: gone\nStatus: deinstall ok config-files\nVersion: 1\n";
    assert_eq!(found("var/lib/dpkg/status", status), ["Deb libssl3 3.0.17-1~deb12u2"]);
    let npm = r#"{"name":"@babel/core","version":"7.1.0","license":"MIT"}"#;
    assert_eq!(found("layers/n/node_modules/@babel/core/package.json", npm), ["Npm @babel/core 7.1.0"]);
    assert!(found("layers/n/node_modules/@babel/core/test/package.json", npm).is_empty(), "of the package's own tests");
    assert!(found("workspace/package.json", npm).is_empty(), "the app itself");
    let python = "Metadata-Version: 2.1\nName: Flask\nVersion: 3.0.0\nLicense: BSD\n\nName: not this\n";
    assert_eq!(
        found("layers/p/lib/python3/site-packages/flask-3.0.0.dist-info/METADATA", python),
        ["Pypi Flask 3.0.0"]
    );
    let gem = "Gem::Specification.new do |s|\n  s.name = \"rack\".freeze\n  s.version = \"2.2.6\"\nend\n";
    assert_eq!(found("usr/share/rubygems/specifications/rack-2.2.6.gemspec", gem), ["Gem rack 2.2.6"]);
    let composer = r#"{"packages":[{"name":"monolog/monolog","version":"v3.1.0","license":["MIT"]}]}"#;
    assert_eq!(found("workspace/vendor/composer/installed.json", composer), ["Composer monolog/monolog 3.1.0"]);
    assert_eq!(found("workspace/lib/spring-core-6.1.2.jar", "PK"), ["Maven spring-core 6.1.2"]);
    let cargo = "version = 3\n\n[[package]]\nname = \"app\"\nversion = \"0.1.0\"\ndependencies = [\n \"itoa\",\n]\n\n\
                 [[package]]\nname = \"itoa\"\nversion = \"1.0.9\"\nsource = \"registry+x\"\n";
    assert_eq!(found("layers/hythe_rust/environment/Cargo.lock", cargo), ["Cargo itoa 1.0.9"]);
    assert!(found("workspace/Cargo.lock", cargo).is_empty(), "nobody says that it was compiled");
}

fn archive(paths: &[&str]) -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(io::Cursor::new(Vec::new()));
    for path in paths {
        let plain = zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
        zip.start_file(*path, plain).unwrap();
        io::Write::write_all(&mut zip, &[7; 100_000]).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

#[test]
fn jars_inside_of_others_are_seen() {
    let names = |path: &str, content: &[u8]| -> Vec<String> {
        let layer = scan_tar(tar(&[(path, content, 0o644)])).unwrap();
        joined_packages([&layer]).into_iter().map(|package| format!("{} {}", package.name, package.version)).collect()
    };
    let inside = ["META-INF/MANIFEST.MF", "BOOT-INF/lib/spring-core-6.1.2.jar", "WEB-INF/lib/a-b-2.0-rc1.jar", "x.jar"];
    let expected = ["a-b 2.0-rc1", "app 1.0", "spring-core 6.1.2"];
    assert_eq!(names("workspace/target/app-1.0.jar", &archive(&inside)), expected);
    assert_eq!(names("workspace/target/app.war", &archive(&inside)), ["a-b 2.0-rc1", "spring-core 6.1.2"]);
    // Also in one of which only the end is held.
    let large: Vec<_> = (0..250).map(|number| format!("{number}.class")).chain(["lib/c-3.jar".to_owned()]).collect();
    let large = archive(&large.iter().map(String::as_str).collect::<Vec<_>>());
    assert!(large.len() > 20 << 20);
    assert_eq!(names("app/app-1.0.jar", &large), ["app 1.0", "c 3"]);

    let whole = archive(&inside);
    for at in (0..whole.len()).rev().take(400) {
        names("app-1.0.jar", &whole[..at]);
    }
    let mut lies = whole.clone();
    let end = lies.len() - 22;
    lies[end + 12..end + 16].copy_from_slice(&[0xff; 4]);
    assert_eq!(names("app-1.0.jar", &lies), ["app 1.0"], "a list longer than the file");
}

#[test]
fn what_is_garbled_names_nothing() {
    for (path, content) in [
        ("var/lib/dpkg/status", "Package\u{0}: \n\n\n:::"),
        ("node_modules/x/package.json", "{\"name\": 1}"),
        ("x.dist-info/METADATA", "Name: \nVersion: \n"),
        ("specifications/x.gemspec", "s.name = \"unended"),
        ("vendor/composer/installed.json", "[1, 2"),
        ("x.jar", ""),
    ] {
        assert!(found(path, content).is_empty(), "{path}");
    }
    let odd = found("node_modules/x/package.json", "{\"name\":\"a\\u001b[2J\",\"version\":\"1\\n2\"}");
    assert_eq!(odd, ["Npm a[2J 12"], "no control characters");
}

/// The shape of Go 1.18 and later: head, flags 2, two strings with their lengths.
fn go_program(padding: usize) -> Vec<u8> {
    let modules = "path\texample.com/x\nmod\texample.com/x\t(devel)\t\ndep\tgolang.org/x/net\tv0.20.0\th1:x=\n\
                   dep\tgithub.com/old/name\tv1.0.0\n=>\tgithub.com/new/name\tv1.1.0\th1:y=\n";
    let modules = format!("{}{modules}{}", "s".repeat(SENTINEL), "e".repeat(SENTINEL));
    let mut program = [b"\x7fELF".as_slice(), &vec![0; padding], b"\xff Go buildinf:\x08\x02", &[0; 16]].concat();
    for text in ["go1.22.1", &modules] {
        let mut length = text.len();
        while length >= 0x80 {
            program.push((length & 0x7f) as u8 | 0x80);
            length >>= 7;
        }
        program.push(length as u8);
        program.extend_from_slice(text.as_bytes());
    }
    program
}

const SENTINEL: usize = 16;

#[test]
fn a_program_of_go_names_its_modules() {
    for padding in [0, (4 << 20) - 10, 9 << 20] {
        let layer = scan_tar(tar(&[("app/server", &go_program(padding), 0o755)])).unwrap();
        let names: Vec<_> = layer.files["app/server"].iter().map(|p| format!("{} {}", p.name, p.version)).collect();
        assert_eq!(names, ["stdlib 1.22.1", "golang.org/x/net v0.20.0", "github.com/new/name v1.1.0"], "{padding}");
    }
    let cut = &go_program(0)[..60];
    assert!(scan_tar(tar(&[("app/server", cut, 0o755)])).unwrap().files.is_empty());
}

#[test]
fn an_upper_layer_replaces_and_removes() {
    let manifest = |version: &str| format!("{{\"name\":\"a\",\"version\":\"{version}\"}}").into_bytes();
    let (one, two) = (manifest("1"), manifest("2"));
    let lower =
        [("node_modules/a/package.json", one.as_slice(), 0o644), ("b/node_modules/a/package.json", &two, 0o644)];
    let lower = scan_tar(tar(&lower)).unwrap();
    let versions = |upper: &LayerPackages| -> Vec<String> {
        joined_packages([&lower, upper]).into_iter().map(|package| package.version).collect()
    };
    let upper = |entries: &[(&str, &[u8], u32)]| scan_tar(tar(entries)).unwrap();
    assert_eq!(versions(&LayerPackages::default()), ["1", "2"]);
    assert_eq!(versions(&upper(&[("node_modules/.wh.a", b"", 0)])), ["2"]);
    assert_eq!(versions(&upper(&[("b/.wh..wh..opq", b"", 0)])), ["1"]);
    assert_eq!(versions(&upper(&[("node_modules/a/package.json", &two, 0o644)])), ["2"]);
    assert_eq!(versions(&upper(&[("node_modules/.wh.ab", b"", 0)])), ["1", "2"], "another name that begins alike");
}
