<?php
// Reads composer.json and composer.lock. Prints what bin/build goes by, a name and its value a line; a failure is a code
// with facts, to which the platform puts the words.
set_include_path(dirname(PHP_BINARY, 2) . '/share/php');
require 'Composer/Semver/autoload.php';

use Composer\Semver\Semver;

// Extensions that every PHP here has, and the packages of those that are not named like theirs.
const BUILT_IN = ['calendar', 'core', 'ctype', 'date', 'exif', 'ffi', 'fileinfo', 'filter', 'ftp', 'gettext', 'hash', 'iconv',
    'json', 'libxml', 'openssl', 'pcntl', 'pcre', 'pdo', 'phar', 'posix', 'random', 'reflection', 'session', 'shmop',
    'sockets', 'sodium', 'spl', 'standard', 'sysvmsg', 'sysvsem', 'sysvshm', 'tokenizer', 'zlib'];
const PACKAGES = ['mysqli' => 'mysql', 'mysqlnd' => 'mysql', 'pdo_mysql' => 'mysql', 'pdo_pgsql' => 'pgsql',
    'pdo_sqlite' => 'sqlite3', 'dom' => 'xml', 'simplexml' => 'xml', 'xmlreader' => 'xml', 'xmlwriter' => 'xml',
    'xsl' => 'xml', 'zend-opcache' => 'opcache', 'pdo_odbc' => 'odbc', 'pdo_dblib' => 'sybase', 'pdo_firebird' => 'interbase'];

function fail(string ...$lines): never
{
    file_put_contents(getenv('HYTHE_FAILURE'), implode("\n", str_replace(["\r", "\n"], ' ', $lines)) . "\n");
    exit(1);
}

function read(string $file): array
{
    $text = file_get_contents($file);
    $value = json_decode($text, true);
    if (!is_array($value)) {
        $cause = json_last_error() === JSON_ERROR_NONE ? 'it is not an object ({ … })' : lcfirst(json_last_error_msg());
        [$line, $column] = place($text);
        $lines = explode("\n", $text);
        $excerpt = [];
        for ($at = max(1, $line - 1); $at <= min(count($lines), $line + 1); $at++) {
            $excerpt[] = "| $at: " . $lines[$at - 1];
        }
        fail('json_syntax', "file=$file", "line=$line", "column=$column", "cause=$cause", ...$excerpt);
    }
    return $value;
}

// PHP does not tell where JSON breaks: after the longest beginning that could still be gone on with.
function place(string $text): array
{
    $depth = [];
    $expects = 'value';
    $offset = 0;
    $token = '/\G\s*(?:([{\[])|([}\]])|(,)|(:)|("(?:[^"\\\\\x00-\x1f]|\\\\.)*")|(-?\d[\d.eE+-]*|true|false|null))/';
    while (preg_match($token, $text, $found, 0, $offset)) {
        $found = array_pad($found, 7, '');
        $inObject = end($depth) === '{';
        $is = match (true) {
            $found[1] !== '' => 'open',
            $found[2] !== '' => 'close',
            $found[3] !== '' => 'comma',
            $found[4] !== '' => 'colon',
            $found[5] !== '' => 'text',
            default => 'other',
        };
        $fits = match ($expects) {
            'value' => in_array($is, ['open', 'text', 'other']),
            'first' => $is === 'close' || ($inObject ? $is === 'text' : in_array($is, ['open', 'text', 'other'])),
            'key' => $is === 'text',
            'colon' => $is === 'colon',
            default => $is === 'comma' || $is === 'close',
        };
        if (!$fits) {
            break;
        }
        $offset += strlen($found[0]);
        if ($is === 'open') {
            $depth[] = $found[1];
            $expects = 'first';
        } elseif ($is === 'close') {
            array_pop($depth);
            $expects = 'after';
        } elseif ($is === 'comma') {
            $expects = $inObject ? 'key' : 'value';
        } elseif ($is === 'colon') {
            $expects = 'value';
        } else {
            $expects = $inObject && in_array($expects, ['first', 'key']) ? 'colon' : 'after';
        }
    }
    $offset += strspn($text, " \t\r\n", $offset);
    $before = explode("\n", substr($text, 0, $offset));
    return [count($before), strlen(end($before)) + 1];
}

$manifest = read('composer.json');
$require = $manifest['require'] ?? [];
$locked = is_file('composer.lock') ? read('composer.lock') : [];

$asked = $require['php'] ?? null;
if ($asked !== null) {
    try {
        $meets = Semver::satisfies(PHP_VERSION, $asked);
    } catch (Throwable) {
        fail('version_syntax', 'file=composer.json', 'field=require.php', 'text=' . json_encode($asked));
    }
    if (!$meets) {
        fail('version_unavailable', 'language=PHP', 'file=composer.json', "wanted=$asked", 'available=' . PHP_VERSION);
    }
}

$extensions = [];
$note = function (array $require, string $from) use (&$extensions): void {
    foreach (array_keys($require) as $name) {
        if (preg_match('/^ext-([a-z0-9_-]{1,40})$/', strtolower($name), $found) && !in_array($found[1], BUILT_IN)) {
            $extensions[PACKAGES[$found[1]] ?? $found[1]] ??= $from;
        }
    }
};
$note($require, 'composer.json');
foreach ($locked['packages'] ?? [] as $package) {
    $note($package['require'] ?? [], 'composer.lock');
}
ksort($extensions);

$isPackage = fn (string $name): bool => str_contains($name, '/');
$root = $manifest['extra']['hythe']['document-root'] ?? $manifest['extra']['document-root'] ?? '';
if (is_file('app.json')) {
    $root = read('app.json')['document_root'] ?? $root;
}
$root = trim((string) $root, '/');
if (str_contains("/$root/", '/../') || !preg_match('#^[\w./-]*$#', $root)) {
    fail('document_root', "root=$root", 'file=composer.json');
}
$autoloads = !empty($manifest['autoload']);
$decisions = [
    'asked' => $asked === null ? 'nothing asks for a version' : "composer.json \"$asked\"",
    'extensions' => implode(' ', array_keys($extensions)),
    'from' => implode(' and ', array_unique(array_values($extensions))) ?: 'composer.json',
    'root' => $root,
    'packages' => array_filter(array_keys($require), $isPackage) || $autoloads ? 'yes' : 'no',
    'compile' => isset($manifest['scripts']['compile']) ? 'yes' : 'no',
];
foreach ($decisions as $name => $text) {
    echo "$name $text\n";
}
