<?php
// One message with PHPMailer; prints what its caller is told. Everything comes from the environment.
require getenv("PHPMAILER");

$mail = new PHPMailer\PHPMailer\PHPMailer(true);
$mail->isSMTP();
$mail->Host = "localhost";
$mail->Port = (int) getenv("PORT");
// Its error messages leave out what the server said; this is what its users are told to switch on.
$mail->SMTPDebug = 2;
$mail->Debugoutput = "echo";
$mail->SMTPAuth = true;
$mail->SMTPSecure = "tls";
$mail->SMTPOptions = ["ssl" => ["cafile" => getenv("CA"), "peer_name" => "localhost"]];
$mail->Username = getenv("MAIL_USER");
$mail->Password = getenv("MAIL_PASSWORD");
$mail->setFrom("news@example.test");
$mail->addAddress("bob@sink.test");
$mail->Body = "Hello.";
try {
    $mail->send();
    echo "sent";
} catch (Exception $e) {
    echo $mail->ErrorInfo;
}
