<?php
// What programs written in PHP for this shape do: they read what file_get_contents brings, which is nothing at all where
// the status is an error, and then Success, ErrorCode and ErrorText. Prints what each step came to, as JSON.
// Everything comes from the environment.
error_reporting(E_ALL & ~E_WARNING);
$base = getenv("BASE");
$session = "";

// As query of a GET, with the key; read into objects.
function get(string $command, array $more = []): mixed {
    global $base;
    $said = http_build_query(["Command" => $command, "ResponseFormat" => "JSON", "ApiKey" => getenv("KEY")] + $more);
    return json_decode(file_get_contents("$base/api.php?$said"));
}

// As a form, with the session; read into arrays.
function post(string $command, array $more = []): mixed {
    global $base, $session;
    $said = ["Command" => $command, "ResponseFormat" => "JSON"] + ($session ? ["SessionID" => $session] : []) + $more;
    $context = stream_context_create(["http" => [
        "method" => "POST", "content" => http_build_query($said),
        "header" => "Cookie: PHPSESSID=$session\r\nContent-type: application/x-www-form-urlencoded; charset=UTF-8\r\n",
    ]]);
    return json_decode(file_get_contents("$base/api.php", false, $context), true);
}

function rest(string $method, string $path, ?array $body = null): mixed {
    global $base;
    $context = stream_context_create(["http" => [
        "method" => $method, "content" => $body === null ? "" : json_encode($body),
        "header" => ["Authorization: Bearer " . getenv("KEY"), "Content-Type: application/json"],
    ]]);
    return json_decode(file_get_contents("$base$path", false, $context), true);
}

function failed(mixed $answer): mixed {
    if (!$answer) return null;
    $answer = (array) $answer;
    return $answer["Success"] ? false : [$answer["ErrorCode"], $answer["ErrorText"]];
}

$found = ["wrong login" => failed(post("User.Login", ["Username" => "alice", "Password" => "wrong"]))];
$login = post("User.Login", ["Username" => "alice", "Password" => getenv("PASSWORD"), "RememberMe" => "yes"]);
$session = $login["SessionID"];
$found["user"] = (int) $login["UserInfo"]["UserID"];
$found["domains"] = array_map(fn($d) => [$d->DomainID, $d->SenderDomain, $d->Status], get("User.SenderDomain.List")->SenderDomains);
$found["gateway"] = array_map(fn($d) => $d["SenderDomain"], post("EmailGateway.GetDomains")["Domains"]);
$found["no such domain"] = failed(get("User.SenderDomain.Get", ["DomainID" => 999]));
$found["nor here"] = failed(post("EmailGateway.GetDomain", ["DomainID" => 999]));
$found["no key"] = failed(get("User.SenderDomain.List", ["ApiKey" => "", "APIKey" => "none"]));
$found["suppressed"] = post("Suppression.Import", ["EmailAddressesBulk" => "carl@example.net\ndora@example.net"])["TotalImported"];
$found["list"] = array_map(fn($e) => $e->SuppressionSource, (array) get("Suppression.Browse", ["SearchPattern" => "*@example.net"])->SuppressedEmails);
$sent = rest("POST", "/api/v1/email", [
    "Subject" => "Hello", "ContentType" => "plain", "PlainContent" => "Hello.",
    "From" => ["name" => "Anna", "email" => "anna@example.com"], "To" => [["email" => "ben@sink.test"]],
]);
$found["sent"] = $sent["MessageID"];
$found["refused"] = rest("POST", "/api/v1/email", [
    "Subject" => "Hello", "ContentType" => "plain", "PlainContent" => "Hello.",
    "From" => ["email" => "anna@example.com"], "To" => [["email" => "carl@example.net"]],
])["Errors"][0]["Code"];
$events = post("EmailGateway.GetEvents", ["StartFrom" => 0, "RetrieveCount" => 10, "MessageID" => $sent["MessageID"], "Event" => "accepted"]);
$found["events"] = array_map(fn($e) => [$e["event"], $e["message"]["headers"]["to"]], $events["Events"]);
$public = rest("GET", "/api/v1/events?" . http_build_query(["MessageID" => $sent["MessageID"], "Event" => "accepted"]));
$found["public events"] = [$public["TotalRecords"], $public["Events"][0]["Message"]["Headers"]["To"]];
echo json_encode($found);
