# Makes the configuration of nginx for one site from the template and from _headers and _redirects in its root, files as
# Netlify and others know them. Prints it; what is wrong in a rule becomes a failure with its line.
use strict;
use warnings;

my ($root, $single, $tag, $template) = @ARGV;

# What the server itself says of an answer.
my %own = map { $_ => 1 } qw(accept-ranges age allow alt-svc connection content-encoding content-length content-range date
  etag last-modified server trailer transfer-encoding upgrade);
my %statuses = map { $_ => 1 } qw(200 301 302 303 307 308 404 410);

sub slurp { my ($path) = @_; open(my $in, '<:raw', $path) or die "$path: $!\n"; local $/; my $text = <$in>; return $text // ''; }

sub fault {
  my ($file, $line, $text, $cause) = @_;
  $cause =~ s/[\r\n]+/ /g;
  $text =~ s/[\x00-\x1f\x7f]/?/g;
  open(my $out, '>', $ENV{HYTHE_FAILURE}) or die;
  print $out "site_rule\nfile=$file\nline=$line\ncause=$cause\n| $line: $text\n";
  close $out;
  exit 1;
}

# A text in quotes as nginx reads it; what would be a variable is not.
sub quoted {
  my ($text) = @_;
  $text =~ s/([\\"])/\\$1/g;
  $text =~ s/\$/\${hythe_dollar}/g;
  return "\"$text\"";
}

# Bytes that no path on the wire has are percent-encoded there.
sub on_wire { my ($text) = @_; $text =~ s/([^\x21-\x7e])/sprintf('%%%02X', ord $1)/ge; return $text; }

# A regular expression of a path with * and :names; and the names, unless nobody will ask for them.
sub pattern {
  my ($path, $plain) = @_;
  my ($out, %names) = ('');
  $path = on_wire($path);
  # /news/* is /news too.
  my $tail = $path =~ s{/\*$}{} ? ($plain ? '(?:/.*)?' : '(?:/(?<p_splat>.*))?') : undef;
  $names{splat} = 1 if defined $tail;
  while ($path =~ /\G(?:(?<=\/):([A-Za-z]\w*)|(\*)|(.))/gs) {
    if (defined $1) { $names{$1} = 1; $out .= $plain ? '[^/]+' : "(?<p_$1>[^/]+)"; }
    elsif (defined $2) { return () unless $plain; $out .= '.*'; }
    else { my $c = $3; $out .= $c =~ m{[\w/-]} ? $c : sprintf('\\x%02x', ord $c); }
  }
  $out =~ s{/$}{} unless defined $tail;
  return ("^$out" . ($tail // '/?') . '$', \%names);
}

sub rules_of {
  my ($file) = @_;
  return () unless -f "$root/$file";
  my ($n, @lines) = (0);
  for (split /\n/, slurp("$root/$file")) {
    $n++;
    s/\r$//;
    s/^\xef\xbb\xbf// if $n == 1;
    push @lines, [$n, $_];
  }
  return @lines;
}

# --- _headers -------------------------------------------------------------------------------------------------------

my (@headers, @types, @current);
my $path;
for (rules_of('_headers')) {
  my ($n, $line) = @$_;
  next if $line =~ /^\s*(?:#.*)?$/;
  my $wrong = sub { fault('_headers', $n, $line, $_[0]) };
  $wrong->('it has control characters') if $line =~ /[\x00-\x08\x0b-\x1f\x7f]/;
  if ($line =~ m{^\s*(/\S*)\s*$}) {
    fault('_headers', @{$path}[1, 2], 'no header stands below this path') if $path && !$path->[3];
    my ($regex) = pattern($1, 1);
    $path = [$regex, $n, $line, 0];
    next;
  }
  $line =~ /^\s*([^\s:]+)\s*:\s*(.*?)\s*$/ or $wrong->('it is neither a path, which starts with "/", nor a header, "Name: value"');
  my ($name, $value) = ($1, $2);
  $wrong->('the header stands below no path') unless $path;
  $wrong->("\"$name\" cannot be the name of a header") unless $name =~ /^[A-Za-z0-9!#\$%&'*+.^_`|~-]+$/;
  $wrong->("$name is for the server alone to say") if $own{lc $name};
  $wrong->('passwords are not known here') if lc $name eq 'basic-auth';
  $wrong->("$name has no value") if $value eq '';
  $path->[3]++;
  if (lc $name eq 'content-type') { push @types, [$path->[0], $value]; } else { push @headers, [$path->[0], $name, $value]; }
}
fault('_headers', @{$path}[1, 2], 'no header stands below this path') if $path && !$path->[3];

my ($maps, $said, $cached) = ('', '', '');
for my $i (0 .. $#headers) {
  my ($regex, $name, $value) = @{$headers[$i]};
  $maps .= "  map \$hythe_path \$hythe_header_$i { default \"\"; \"~$regex\" " . quoted($value) . "; }\n";
  my $is_cache = lc $name eq 'cache-control';
  $cached .= " \"~$regex\" \"\";" if $is_cache;
  # That a path has no file is not to be kept for as long as the file.
  $said .= "    add_header $name \$hythe_header_$i" . ($is_cache ? '' : ' always') . ";\n";
}
$maps .= "  map \$hythe_path \$hythe_cache_control { default \"no-cache\";$cached }\n";
$said .= "    add_header Cache-Control \$hythe_cache_control;\n";
my $typed = join '', map {
  my ($regex, $value) = @$_;
  "    location ~ \"$regex\" { types { } default_type " . quoted($value) . "; try_files \$uri \$uri.html \$uri/index.html \@rules; }\n";
} @types;

# --- _redirects -----------------------------------------------------------------------------------------------------

my ($forced, $others, $count) = ('', '', 0);
for (rules_of('_redirects')) {
  my ($n, $line) = @$_;
  my $wrong = sub { fault('_redirects', $n, $line, $_[0]) };
  $wrong->('it has control characters') if $line =~ /[\x00-\x08\x0b-\x1f\x7f]/;
  (my $rule = $line) =~ s/(?:^|\s)#.*$//;
  my @words = split ' ', $rule;
  next unless @words;
  my $from = shift @words;
  $wrong->("\"$from\" is no path of this site: it has to start with \"/\"") unless $from =~ m{^/};
  $wrong->('it does not say where the path leads: "/from /to"') unless @words;
  $wrong->("queries ($words[0]) are not known here") if $words[0] =~ /^[\w-]+=/;
  my $to = shift @words;
  $wrong->("\"$to\" is neither a path of this site (/…) nor an address (https://…)") unless $to =~ m{^(?:/|https?://[^/])};
  my ($status, $bang) = (301, '');
  if (@words) {
    my $word = shift @words;
    $wrong->("conditions ($word) are not known here") if $word =~ /^\w+=/;
    ($status, $bang) = $word =~ /^(\d+)(!?)$/ or $wrong->("\"$word\" is no status");
    $wrong->("$status is no status of a redirect: there are " . join(', ', sort keys %statuses)) unless $statuses{$status};
  }
  $wrong->($words[0] =~ /^\w+=/ ? "conditions ($words[0]) are not known here" : "there is more than a path, a target and a status") if @words;

  my ($regex, $names) = pattern($from, 0);
  $wrong->('* has to be the end of the path, behind a "/"') unless defined $regex;
  $to = on_wire($to);
  my $named = 0;
  $to =~ s{\$}{%24}g;
  my $bare = $to;
  $to =~ s{(?<=[/=._-]):([A-Za-z]\w*)}{
    $wrong->("the target takes :$1, which the path does not have") unless $names->{$1};
    $named = 1;
    "\${p_$1}"
  }ge;
  (my $safe = $to) =~ s/([\\"])/sprintf('%%%02X', ord $1)/ge;
  $wrong->('a status 404 cannot be forced') if $status == 404 && $bang;
  my $act;
  if ($status == 200 || $status == 404) {
    $wrong->("only paths of this site can be shown with $status; 301 or 302 leads elsewhere") unless $to =~ m{^/};
    $wrong->("a target of status 404 is one page, without :names") if $status == 404 && $named;
    (my $file = $bare) =~ s/[?#].*$//;
    if (!$named) {
      $file =~ s/%([0-9A-F]{2})/chr hex $1/ge;
      my @there = grep { -f "$root$_" } $file, "$file.html", "$file/index.html";
      $wrong->("the site has no file $file") unless @there;
      ($safe = $there[0]) =~ s/([\\"])/\\$1/g;
      $safe =~ s{//+}{/}g;
    }
    $act = $status == 404 ? "error_page 404 \"$safe\"; return 404;" : "rewrite ^ \"/.hythe-" . ($bang ? 'forced' : 'shown') . "$safe\" last;";
  } elsif ($status == 410) {
    $act = 'return 410;';
  } else {
    (my $end = $from) =~ s{/$}{};
    $wrong->('it leads to itself') if !$named && $to =~ /^\Q$end\E\/?$/;
    $act = "return $status \"$safe" . ($to =~ /[?#]/ ? '' : '$is_args$args') . '";';
  }
  my $test = "if (\$hythe_path ~ \"$regex\") { $act }\n";
  if ($bang) { $forced .= "    $test"; } else { $others .= "      $test"; }
  $count++;
}
# A path with a dot at its end names a file that is missing: a page in its place would be a riddle.
$others .= "      if (\$hythe_path !~ \"[.][^/]*\$\") { rewrite ^ /.hythe-shown/index.html last; }\n" if $single eq 'yes';

# --- what comes out -------------------------------------------------------------------------------------------------

printf STDERR "       _headers: %d, _redirects: %d rules\n", @headers + @types, $count if @headers + @types + $count;
my %word = (
  ROOT => $root, TAG => $tag, MAPS => $maps, HEADERS => $said, FORCED => $forced, RULES => $others, TYPES => $typed,
  ERRORS => -f "$root/404.html" ? 'error_page 403 404 =404 /404.html;' : '',
);
my $text = slurp($template);
# In one pass: what is put in is not looked at again.
$text =~ s/\@(ROOT|TAG|MAPS|HEADERS|FORCED|RULES|TYPES|ERRORS)\@/$word{$1}/g;
print $text;
