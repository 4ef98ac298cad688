"""SQS, S3 and STS, by boto3 and the AWS CRT."""
