#!/usr/bin/perl
# Starts a process of an app: `launch PLAN COMMAND …`. The plan is NUL-ended words: `set NAME USUAL VALUE` gives a variable
# its value unless somebody has set it to other than the usual; `run FILE` runs a program of a layer, which writes further
# variables as TOML to file descriptor 3 (buildpack specification, "Exec.d"); `source FILE` has a shell source a script
# before. It becomes the command.
use strict;
use warnings;
use POSIX ();

sub fail { print STDERR "launch: $_[0]\n"; exit 1 }

my ($plan, @command) = @ARGV;
@command or fail('there is no command');
open my $in, '<:raw', $plan or fail("$plan: $!");
my @words = do { local $/ = "\0"; map { s/\0\z//r } <$in> };
close $in;

my @scripts;
while (@words) {
  my $what = shift @words;
  if ($what eq 'set') {
    my ($name, $usual, $value) = splice @words, 0, 3;
    $ENV{$name} = $value if ($ENV{$name} // '') eq $usual;
  } elsif ($what eq 'run') {
    my $file = shift @words;
    next unless -x $file && -f _;
    my %said = said_by($file);
    @ENV{keys %said} = values %said;
  } elsif ($what eq 'source') {
    push @scripts, shift @words;
  } else {
    fail("$plan says $what");
  }
}
# Words: number of scripts, scripts, command.
unshift @command, 'bash', '-c', 'for ((n = $1; n > 0; n--)); do . "$2"; set -- "$1" "${@:3}"; done; shift; exec "$@"',
  'bash', scalar @scripts, @scripts
  if @scripts;
exec { $command[0] } @command or fail("$command[0]: $!");

sub said_by {
  my ($file) = @_;
  pipe(my $from, my $to) or fail($!);
  my $child = fork // fail($!);
  if (!$child) {
    close $from;
    chdir '/workspace';
    my $fd = fileno $to;
    if ($fd == 3) { require Fcntl; fcntl $to, Fcntl::F_SETFD(), 0 } else { POSIX::dup2($fd, 3) }
    exec { $file } $file or POSIX::_exit(127);
  }
  close $to;
  my $text = do { local $/; <$from> } // '';
  waitpid $child, 0;
  fail("$file ended with " . ($? >> 8)) if $?;
  return variables($file, $text);
}

# Top-level keys with strings, as the format has nothing else here.
sub variables {
  my ($file, $text) = @_;
  my %found;
  for ($text) {
    while (1) {
      /\G(?:[ \t\r\n]|#[^\n]*)+/gc;
      last if /\G\z/gc;
      my $name;
      if (/\G([A-Za-z0-9_-]+)/gc) { $name = $1 }
      elsif (/\G"((?:[^"\\\n]|\\.)*)"/gc) { $name = unescaped($1) }
      elsif (/\G'([^'\n]*)'/gc) { $name = $1 }
      else { fail("$file wrote what is no TOML with texts only") }
      /\G[ \t]*=[ \t]*/gc or fail("$file wrote no value for $name");
      if (/\G"""\r?\n?((?:[^\\]|\\.)*?"{0,2})"""(?!")/gcs) { $found{$name} = unescaped($1) }
      elsif (/\G'''\r?\n?(.*?'{0,2})'''(?!')/gcs) { $found{$name} = $1 }
      elsif (/\G"((?:[^"\\\n]|\\.)*)"/gc) { $found{$name} = unescaped($1) }
      elsif (/\G'([^'\n]*)'/gc) { $found{$name} = $1 }
      else { fail("$file wrote a value for $name that is no text") }
    }
  }
  return %found;
}

sub unescaped {
  my ($text) = @_;
  my %plain = (b => "\b", t => "\t", n => "\n", f => "\f", r => "\r", e => "\e", '"' => '"', '\\' => '\\');
  $text =~ s/\\(?:u([0-9A-Fa-f]{4})|U([0-9A-Fa-f]{8})|([ \t]*\r?\n\s*)|(.))/
    defined $1 ? bytes($1) : defined $2 ? bytes($2) : defined $3 ? '' : $plain{$4} \/\/ "\\$4"/gsex;
  return $text;
}

sub bytes { my $c = chr hex $_[0]; utf8::encode($c); return $c }
